"""One trace as a waterfall: lines for a terminal. Pure.

One line per hop, below the one that caused it: `░` while it waited, also within it (for rate limits), `█` while it was handled. Blank
before a bar is time in which nobody had it: on its way between two processes, or where nobody measures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from textwrap import wrap
from typing import Any

from flora.scripts.cli.output import plural, safe
from flora.scripts.cli.trace_view import GREY, Look, cut, moment, outcome_colour, title, took
from flora.storage.trace_query import Trace, failed
from flora.storage.trace_record import OK, TraceRecord

WAITED, HANDLED = "░", "█"
PLAIN_WAITED, PLAIN_HANDLED = ".", "#"
TIME_COLUMNS = 9
LEAST_BAR_COLUMNS = 16  # with less room there are no bars
GOOD_BAR_COLUMNS = 32  # with less room a hop's facts stand below it
MOST_FACTS_BESIDE = 44
MOST_NAME_COLUMNS, LEAST_NAME_COLUMNS = 52, 10
MOST_DEPTH = 12  # further ones are not indented more
GAP_SHARE, LEAST_GAP_US = 0.2, 2_000  # of the whole; a longer gap gets a line of its own


@dataclass(frozen=True, slots=True)
class _Row:
    hop: TraceRecord
    depth: int
    gap_us: int  # between the end of the hop that caused it and the beginning of this one, where nobody had it

    @property
    def indent(self) -> str:
        return "  " * min(self.depth, MOST_DEPTH)

    @property
    def name(self) -> str:
        hop = self.hop
        said = f" {hop.event}" if hop.event and hop.event not in hop.name and self.depth == 0 else ""
        return safe(f"{self.indent}{hop.name}{said}")

    @property
    def facts(self) -> str:
        shown = (_fact(key, value) for key, value in self.hop.attrs.items() if value != 0 or not key.endswith("_us"))
        return ", ".join(shown)


@dataclass(frozen=True, slots=True)
class _Columns:
    """How wide what is."""

    process: int
    name: int
    bar: int  # 0: there are none
    facts_beside: bool

    @classmethod
    def of(cls, rows: Sequence[_Row], width: int) -> _Columns:
        process = max([len("process"), *(len(safe(row.hop.process)) for row in rows)])
        name = min(MOST_NAME_COLUMNS, max([len("hop"), *(len(row.name) for row in rows)]))
        left = width - process - name - 2 - 2 * TIME_COLUMNS - 2
        beside = max(len(_end(row, facts=True)) for row in rows)
        if beside <= MOST_FACTS_BESIDE and left - beside >= GOOD_BAR_COLUMNS:
            return cls(process, name, left - beside, facts_beside=True)
        bar = left - max(len(_end(row, facts=False)) for row in rows)
        if bar < LEAST_BAR_COLUMNS:
            return cls(process, max(LEAST_NAME_COLUMNS, min(name, name + bar + 2)), 0, facts_beside=False)
        return cls(process, name, bar, facts_beside=False)


def waterfall(trace: Trace, look: Look) -> list[str]:
    """One trace, hop by hop; no line of the table is wider than the terminal, where that has 60 columns or more."""
    rows = list(_rows(trace))
    return [*_head(trace, look), "", *_table(trace, rows, look), "", *_legend(trace, rows, look)]


def _head(trace: Trace, look: Look) -> list[str]:
    began = moment(trace.starts_us, look)
    whose = f" of guild {trace.guild_id}" if trace.guild_id else ""
    outcome = look.paint(safe(trace.outcome), outcome_colour(trace.outcome))
    when = f"{began:%Y-%m-%d %H:%M:%S}.{began.microsecond // 1000:03} {began:%Z}"
    processes = len({hop.process for hop in trace.hops})
    lines = [
        f"{safe(title(trace))}{whose}: {outcome}, {took(trace.took_us)}",
        f"{when}, {plural(len(trace.hops), 'hop')} in {processes} process{'' if processes == 1 else 'es'}, trace {trace.trace_id}",
    ]
    return [*lines, safe(trace.why)] if trace.why else lines


def _rows(trace: Trace) -> Iterator[_Row]:
    """Hops below those that caused them; what was caused by one that nobody has written down stands at the left."""
    spans = {hop.span: hop for hop in trace.hops}
    caused: dict[str, list[TraceRecord]] = {}
    for hop in trace.hops:
        known = hop.parent in spans and hop.parent != hop.span
        caused.setdefault(hop.parent if known else "", []).append(hop)
    shown: set[str] = set()
    # A stack, for a chain may be longer than Python's calls go deep. What only its own effect has caused is never reached
    # from the left, so whatever is left over is shown there at the end.
    for begin in (*caused.get("", ()), *trace.hops):
        waiting = [(begin, 0)]
        while waiting:
            hop, depth = waiting.pop()
            if hop.span in shown:
                continue
            shown.add(hop.span)
            parent = spans.get(hop.parent) if depth else None
            gap_us = hop.at_us - hop.queued_us - parent.ends_us if parent is not None else 0
            yield _Row(hop, depth, max(0, gap_us))
            waiting += [(each, depth + 1) for each in reversed(caused.get(hop.span, ()))]


def _table(trace: Trace, rows: Sequence[_Row], look: Look) -> list[str]:
    columns = _Columns.of(rows, look.columns)
    scale = f"0{took(trace.took_us):>{columns.bar - 1}}  " if columns.bar else ""
    head = f"{'process':<{columns.process}} {'hop':<{columns.name}} {scale}{'waited':>{TIME_COLUMNS}}{'took':>{TIME_COLUMNS}}"
    lines = [look.paint(head, GREY)]
    for row in rows:
        if row.gap_us > max(LEAST_GAP_US, GAP_SHARE * trace.took_us):
            gap = f"{'':<{columns.process}} {row.indent}… {took(row.gap_us)} later"
            lines.append(look.paint(cut(gap, look.columns), GREY))
        lines.append(_line(trace, row, columns, look))
        lines += _notes(trace, row, columns, look)
    return lines


def _line(trace: Trace, row: _Row, columns: _Columns, look: Look) -> str:
    hop = row.hop
    waited, took_text = (took(us) if us else "" for us in (hop.queued_us, hop.took_us))
    end = _end(row, facts=columns.facts_beside)
    if hop.outcome != OK:
        word, rest = end[: len(safe(hop.outcome)) + 2], end[len(safe(hop.outcome)) + 2 :]
        end = look.paint(word, outcome_colour(hop.outcome)) + look.paint(rest, GREY)
    else:
        end = look.paint(end, GREY)
    line = (
        f"{safe(hop.process):<{columns.process}} {cut(row.name, columns.name):<{columns.name}} {_bar(trace, hop, columns.bar, look)}"
        f"{waited:>{TIME_COLUMNS}}{took_text:>{TIME_COLUMNS}}{end}"
    )
    return line.rstrip()


def _end(row: _Row, *, facts: bool) -> str:
    """What stands at the right of a hop."""
    parts = [] if row.hop.outcome == OK else [safe(row.hop.outcome)]
    if facts and row.facts:
        parts.append(row.facts)
    return "".join(f"  {part}" for part in parts)


def _bar(trace: Trace, hop: TraceRecord, columns: int, look: Look) -> str:
    if not columns:
        return ""
    whole = max(1, trace.took_us)
    waited, handled = (WAITED, HANDLED) if look.blocks else (PLAIN_WAITED, PLAIN_HANDLED)
    since = [
        us - trace.starts_us for us in (hop.at_us - hop.queued_us, hop.at_us + _waited_inside_us(hop), hop.ends_us)
    ]
    first, middle, last = (min(columns, us * columns // whole) for us in since)
    middle = min(middle, columns - 1)  # what took no time is shown, too
    last = max(last, middle + 1)
    first = min(first, middle)
    bar = waited * (middle - first) + look.paint(handled * (last - middle), outcome_colour(hop.outcome))
    return " " * first + bar + " " * (columns - last) + "  "


def _waited_inside_us(hop: TraceRecord) -> int:
    """What it spent waiting while it was handled: a call, for its turn and for rate limits, before anything was sent."""
    waits = (us for key, us in hop.attrs.items() if key == "queue_us" or key.endswith("_wait_us"))
    return min(hop.took_us, sum(us for us in waits if type(us) is int and us > 0))


def _notes(trace: Trace, row: _Row, columns: _Columns, look: Look) -> list[str]:
    """Below a hop: why it ended so, unless the head has said it, and its facts, unless they are beside it."""
    hop = row.hop
    told: list[tuple[str, str]] = []
    if hop.why and (hop.why != trace.why or hop.outcome != trace.outcome):
        told.append((safe(hop.why), outcome_colour(hop.outcome)))
    if row.facts and not columns.facts_beside:
        told.append((row.facts, GREY))
    margin = f"{'':<{columns.process}} {row.indent}  "
    room = max(LEAST_BAR_COLUMNS, look.columns - len(margin))
    return [margin + look.paint(line, colour) for text, colour in told for line in wrap(text, room)]


def _fact(key: str, value: Any) -> str:
    name = key.replace("_", " ")
    if key.endswith("_us") and type(value) is int:
        return safe(f"{name[:-3]} {took(value)}")
    return safe(f"{name} {str(value).lower() if isinstance(value, bool) else value}")


def _legend(trace: Trace, rows: Sequence[_Row], look: Look) -> list[str]:
    waited, handled = (WAITED, HANDLED) if look.blocks else (PLAIN_WAITED, PLAIN_HANDLED)
    lines = [f"{waited} waited  {handled} handled  blank before: on its way, or where nobody measures"]
    spans = {hop.span for hop in trace.hops}
    lost = sum(1 for row in rows if row.hop.parent and row.hop.parent not in spans)
    if lost:
        lines.append(
            f"{plural(lost, 'hop')} came from one that is not here: not traced from the beginning, or given up since"
        )
    if failed(trace.decisive) and not trace.why:
        lines.append(_where_to_look(trace))
    return [look.paint(line, GREY) for line in lines]


def _where_to_look(trace: Trace) -> str:
    if not trace.guild_id:
        return f"look for trace_id {trace.trace_id} in the process log"
    since, until = (
        f"{datetime.fromtimestamp(at_us // 1_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"
        for at_us in (trace.starts_us - 1_000_000, trace.starts_us + trace.took_us + 2_000_000)
    )
    return f"what was said meanwhile: flora logs --guild {trace.guild_id} --since {since} --until {until}"
