"""How `flora trace` shows traces in a list, and what lists and waterfalls have in common. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo

from flora.scripts.cli.output import plural, safe
from flora.storage.trace_query import HELD, Trace, short_id
from flora.storage.trace_record import OK

LISTED_COLUMNS, LEAST_TITLE_COLUMNS, MOST_TITLE_COLUMNS = 83, 20, 52  # of a list: all but the title; the title
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
    began = moment(trace.starts_us, look)
    day = "" if f"{began:%Y-%m-%d}" == today else f"{began:%m-%d} "
    outcome = look.paint(f"{safe(trace.outcome):<12}", outcome_colour(trace.outcome))
    room = min(max(look.columns - LISTED_COLUMNS, LEAST_TITLE_COLUMNS), MOST_TITLE_COLUMNS)
    clock = f"{day}{began:%H:%M:%S}.{began.microsecond // 1000:03}"
    return (
        f"{clock}  {trace.guild_id or '-':<19} {cut(safe(title(trace)), room):<{room}} {outcome} {took(trace.took_us):>8}"
        f" {plural(len(trace.hops), 'hop'):>7}  {short_id(trace.trace_id)}"
    )


def title(trace: Trace) -> str:
    """What it is about, with its kind where the name does not say it."""
    what = trace.what
    return f"cron {what}" if trace.kind == "cron" and not what.startswith("cron") else what


def moment(at_us: int, look: Look) -> datetime:
    """A time of traces where the reader is."""
    return datetime.fromtimestamp(at_us / 1e6, look.zone).astimezone(look.zone)


def cut(text: str, columns: int) -> str:
    """At most so many characters."""
    return text if len(text) <= columns else text[: max(0, columns - 1)] + "…"
