"""What `flora trace` shows: traces → lines for a terminal. Pure.

A waterfall has one line per hop, below the one that caused it: `░` while it waited, `█` while it was handled. Blank before a bar
is time in which nobody had it: on its way between two processes, or where nobody measures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from textwrap import wrap
from typing import Any

from flora.scripts.cli.output import plural, safe
from flora.storage.trace_query import HELD, Trace, failed, short_id
from flora.storage.trace_record import OK, TraceRecord

WAITED, HANDLED = "░", "█"
PLAIN_WAITED, PLAIN_HANDLED = ".", "#"
LEAST_BAR_COLUMNS = 16  # with less room there are no bars
MOST_NAME_COLUMNS = 52
LISTED_COLUMNS, LEAST_TITLE_COLUMNS = 83, 20  # of a list: all but the title; the title
MOST_DEPTH = 12  # further ones are not indented more
GAP_SHARE = 0.2  # of the whole; a longer one gets a line of its own
LEAST_GAP_US = 2_000

RED, YELLOW, GREEN, GREY = "31", "33", "32", "90"
_SOFT = frozenset({HELD, "refused", "shed", "dropped", "no_isolate"})


@dataclass(frozen=True, slots=True)
class Look:
    """How lines may look."""

    columns: int = 120
    colour: bool = False
    blocks: bool = True  # whether the terminal can show block characters
    zone: tzinfo | None = None  # None: this machine's

    def paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colour and colour and text else text


def took(us: int) -> str:
    """Microseconds for a person, at most eight columns: `420 µs`, `4.2 ms`, `432 ms`, `1.25 s`, `95 s`."""
    if us < 1000:
        return f"{us} µs"
    if us < 9_950:
        return f"{us / 1000:.1f} ms"
    if us < 999_500:
        return f"{us / 1000:.0f} ms"
    return f"{us / 1e6:.2f} s" if us < 10_000_000 else f"{us / 1e6:.0f} s"


def outcome_colour(outcome: str) -> str:
    """Green what went well, yellow what was not let through, red what failed."""
    return GREEN if outcome == OK else YELLOW if outcome in _SOFT else RED


def list_line(trace: Trace, look: Look, today: str) -> str:
    """One trace.

    Args:
        today: `YYYY-MM-DD`; other days are named.
    """
    moment = _moment(trace.starts_us, look)
    day = "" if f"{moment:%Y-%m-%d}" == today else f"{moment:%m-%d} "
    outcome = look.paint(f"{safe(trace.outcome):<12}", outcome_colour(trace.outcome))
    room = min(max(look.columns - LISTED_COLUMNS, LEAST_TITLE_COLUMNS), MOST_NAME_COLUMNS)
    clock = f"{day}{moment:%H:%M:%S}.{moment.microsecond // 1000:03}"
    return (
        f"{clock}  {trace.guild_id or '-':<19} {_cut(safe(_title(trace)), room):<{room}} {outcome} {took(trace.took_us):>8}"
        f" {plural(len(trace.hops), 'hop'):>7}  {short_id(trace.trace_id)}"
    )


def _title(trace: Trace) -> str:
    """What it is about, with its kind where the name does not say it."""
    what = trace.what
    return f"cron {what}" if trace.kind == "cron" and not what.startswith("cron") else what


def _moment(at_us: int, look: Look) -> datetime:
    return datetime.fromtimestamp(at_us / 1e6, look.zone).astimezone(look.zone)


def _cut(text: str, columns: int) -> str:
    return text if len(text) <= columns else text[: max(0, columns - 1)] + "…"


@dataclass(frozen=True, slots=True)
class _Row:
    hop: TraceRecord
    depth: int
    gap_us: int  # between the end of the hop that caused it and the beginning of this one, where nobody had it


def waterfall(trace: Trace, look: Look) -> list[str]:
    """One trace, hop by hop."""
    rows = list(_rows(trace))
    return [*_head(trace, look), "", *_table(trace, rows, look), "", *_legend(trace, rows, look)]


def _head(trace: Trace, look: Look) -> list[str]:
    moment = _moment(trace.starts_us, look)
    whose = f" of guild {trace.guild_id}" if trace.guild_id else ""
    outcome = look.paint(safe(trace.outcome), outcome_colour(trace.outcome))
    when = f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03} {moment:%Z}"
    processes = len({hop.process for hop in trace.hops})
    lines = [
        f"{safe(_title(trace))}{whose}: {outcome}, {took(trace.took_us)}",
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
    process_columns = max([len("process"), *(len(row.hop.process) for row in rows)])
    names = [_name(row) for row in rows]
    name_columns = min(MOST_NAME_COLUMNS, max([len("hop"), *map(len, names)]))
    outcomes = [safe(row.hop.outcome) for row in rows if row.hop.outcome != OK]
    fixed = process_columns + 1 + name_columns + 1 + 9 + 9 + (1 + max(map(len, outcomes)) if outcomes else 0)
    bar_columns = look.columns - fixed - 2
    if bar_columns < LEAST_BAR_COLUMNS:
        bar_columns = 0
        name_columns = max(10, min(name_columns, look.columns - (fixed - name_columns)))
    head = (
        f"{'process':<{process_columns}} {'hop':<{name_columns}} {_scale(trace, bar_columns)}{'waited':>9}{'took':>9}"
    )
    lines = [look.paint(head.rstrip(), GREY)]
    for row, name in zip(rows, names, strict=True):
        hop = row.hop
        if row.gap_us > max(LEAST_GAP_US, GAP_SHARE * trace.took_us):
            text = f"{'':<{process_columns}} {_indent(row)}… {took(row.gap_us)} on its way"
            lines.append(look.paint(_cut(text, look.columns), GREY))
        waited = took(hop.queued_us) if hop.queued_us else ""
        end = "" if hop.outcome == OK else " " + look.paint(safe(hop.outcome), outcome_colour(hop.outcome))
        lines.append(
            f"{_cut(safe(hop.process), process_columns):<{process_columns}} {_cut(name, name_columns):<{name_columns}}"
            f" {_bar(trace, hop, bar_columns, look)}{waited:>9}{took(hop.took_us):>9}{end}"
        )
        lines += _notes(trace, row, look, process_columns)
    return lines


def _indent(row: _Row) -> str:
    return "  " * min(row.depth, MOST_DEPTH)


def _name(row: _Row) -> str:
    hop = row.hop
    said = f" {hop.event}" if hop.event and hop.event not in hop.name and row.depth == 0 else ""
    return safe(f"{_indent(row)}{hop.name}{said}")


def _scale(trace: Trace, columns: int) -> str:
    if not columns:
        return ""
    left, right = "0", took(trace.took_us)
    return f"{left}{right:>{columns - len(left)}}  "


def _bar(trace: Trace, hop: TraceRecord, columns: int, look: Look) -> str:
    if not columns:
        return ""
    whole = max(1, trace.took_us)
    waited, handled = (WAITED, HANDLED) if look.blocks else (PLAIN_WAITED, PLAIN_HANDLED)
    since = [hop.at_us - hop.queued_us - trace.starts_us, hop.at_us - trace.starts_us, hop.ends_us - trace.starts_us]
    first, middle, last = (min(columns, us * columns // whole) for us in since)
    middle = min(middle, columns - 1)  # what took no time is shown, too
    last = max(last, middle + 1)
    first = min(first, middle)
    bar = waited * (middle - first) + look.paint(handled * (last - middle), outcome_colour(hop.outcome))
    return " " * first + bar + " " * (columns - last) + "  "


def _notes(trace: Trace, row: _Row, look: Look, process_columns: int) -> list[str]:
    """Below a hop: why it ended so, unless the head has said it, and the facts it has."""
    hop = row.hop
    told: list[tuple[str, str]] = []
    if hop.why and (hop.why != trace.why or hop.outcome != trace.outcome):
        told.append((safe(hop.why), outcome_colour(hop.outcome)))
    if facts := [_fact(key, value) for key, value in hop.attrs.items() if value != 0 or not key.endswith("_us")]:
        told.append((", ".join(facts), GREY))
    margin = f"{'':<{process_columns}} {_indent(row)}  "
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
