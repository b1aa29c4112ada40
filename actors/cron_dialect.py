"""What a cron expression means: five to seven fields, read into sets of numbers. Pure.

    second (6 or 7 fields)  minute  hour  day of month  month  day of week  year (7 fields)

Everywhere `*`, lists, ranges, steps; `?` for both kinds of day; names of months and weekdays; in the day of month `L` and `15W`; in the
day of week `5#2`, `5#L`, `5L` and, in front, `+`. Where both kinds of day are given either may match; with `+` both have to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MAX_CHARS: Final = 1024  # every second, minute and hour by number takes half of it
LAST_YEAR: Final = 5000
NICKNAMES: Final = {
    "@YEARLY": "0 0 1 1 *",
    "@ANNUALLY": "0 0 1 1 *",
    "@MONTHLY": "0 0 1 * *",
    "@WEEKLY": "0 0 * * 0",
    "@DAILY": "0 0 * * *",
    "@HOURLY": "0 * * * *",
}
_WORD: Final = re.compile(r"[^ \t\n\v\f\r]+")
_MONTHS: Final = {
    name: str(number)
    for number, name in enumerate(
        ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"], 1
    )
}
# FRI-SUN is 5-7.
_WEEKDAYS: Final = {"-SUN": "-7"} | {
    name: str(number) for number, name in enumerate(["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"])
}
_ITEM: Final = re.compile(r"(?:\*|(?P<first>[0-9]+)(?:-(?P<last>[0-9]+))?)(?:/(?P<step>[0-9]+))?")
_NEAR: Final = re.compile(r"([0-9]+)W")
_NTH: Final = re.compile(r"(?P<days>.*?)(?:#(?P<nth>.*)|(?P<last>L))")
_PLAIN: Final = re.compile(r"[0-9*,/-]*")
_DAY: Final = re.compile(r"[0-9*,/LW-]*")
_WEEKDAY: Final = re.compile(r"[0-9*,/L#-]*")


class CronError(ValueError):
    """The expression is not of this dialect; the text says why."""


@dataclass(frozen=True, slots=True)
class CronFields:
    """Sets as bits: bit n of a number is set when n matches. Sunday is 0."""

    seconds: int
    minutes: int
    hours: int
    months: int
    years: int
    days: int
    last_day: bool  # of the month, whichever that is
    near_days: int  # the weekday nearest to day n, within the month
    weekdays: int
    nth_weekdays: tuple[int, int, int, int, int]  # the first, second … of the month
    last_weekdays: int  # the last of the month
    days_restricted: bool
    weekdays_restricted: bool
    both: bool  # day of month and day of week have to match; else either, where both are restricted


@lru_cache(maxsize=1024)
def parse(expression: str) -> CronFields:
    """Reads an expression.

    Raises:
        CronError: with the reason, for the script's author.
    """
    if len(expression) > MAX_CHARS:
        raise CronError(f"Invalid pattern: Pattern is longer than {MAX_CHARS} characters.")
    parts = _WORD.findall(expression.upper())
    if not parts:
        raise CronError("CronPattern cannot be an empty string.")
    if len(parts) == 1:
        parts = NICKNAMES.get(parts[0], parts[0]).split()
    if not 5 <= len(parts) <= 7:
        raise CronError("Invalid pattern: Pattern must have between 5 and 7 fields.")
    if len(parts) == 5:
        parts.insert(0, "0")
    if len(parts) == 6:
        parts.append("*")
    second, minute, hour, day, month, weekday, year = parts
    seconds, minutes, hours = _plain(second, 0, 59), _plain(minute, 0, 59), _plain(hour, 0, 23)
    days, last_day, near_days = _days(day.replace("?", "*"))
    months = _plain(_numbered(month, _MONTHS), 1, 12)
    both, weekday = weekday.startswith("+"), weekday.removeprefix("+").replace("?", "*")
    weekdays, nth_weekdays, last_weekdays = _weekdays(_numbered(weekday, _WEEKDAYS))
    return CronFields(
        seconds=seconds,
        minutes=minutes,
        hours=hours,
        months=months,
        years=_plain(year, 1, LAST_YEAR),
        days=days,
        last_day=last_day,
        near_days=near_days,
        weekdays=weekdays,
        nth_weekdays=nth_weekdays,
        last_weekdays=last_weekdays,
        days_restricted=day not in ("*", "?"),
        weekdays_restricted=weekday != "*",
        both=both,
    )


def _numbered(text: str, names: Mapping[str, str]) -> str:
    return re.sub("|".join(names), lambda name: names[name[0]], text)


def _plain(text: str, low: int, high: int) -> int:
    _require(text, _PLAIN)
    bits = 0
    for item in _items(text):
        bits |= _range(item, low, high)
    return bits


def _days(text: str) -> tuple[int, bool, int]:
    _require(text, _DAY)
    days, last_day, near_days = 0, False, 0
    for item in _items(text):
        if item == "L":
            last_day = True
        elif item.endswith("W"):
            near = _NEAR.fullmatch(item)
            if near is None:
                raise CronError("Component error: Invalid number.")
            near_days |= _range(near[1], 1, 31)
        else:
            days |= _range(item, 1, 31)
    return days, last_day, near_days


def _weekdays(text: str) -> tuple[int, tuple[int, int, int, int, int], int]:
    _require(text, _WEEKDAY)
    every, last, nth = 0, 0, [0, 0, 0, 0, 0]
    for item in _items(text):
        special = _NTH.fullmatch(item)
        if special is None:
            every |= _sunday_is_0(_range(item, 0, 7))
        elif special["last"]:
            # As elsewhere: no list of days without `#`, and a bare `L` is no day at all.
            days = special["days"]
            if days and not days.isdigit():
                raise CronError("Component error: Invalid number.")
            last |= _range(days, 0, 7) & 0x7F if days else 0
        elif special["nth"] == "L":
            last |= _range(special["days"], 0, 7) & 0x7F  # and no Sunday by the number 7
        else:
            nth[_nth(special["nth"]) - 1] |= _sunday_is_0(_range(special["days"], 0, 7))
    return every, (nth[0], nth[1], nth[2], nth[3], nth[4]), last


def _nth(text: str) -> int:
    if text not in ("1", "2", "3", "4", "5"):
        raise CronError("Component error: Nth specifier out of bounds.")
    return int(text)


def _sunday_is_0(bits: int) -> int:
    return bits & 0x7F | bits >> 7


def _items(text: str) -> list[str]:
    return [item for item in text.split(",") if item]


def _require(text: str, allowed: re.Pattern[str]) -> None:
    if not allowed.fullmatch(text):
        raise CronError(f"Pattern contains illegal characters: {text}")


def _range(item: str, low: int, high: int) -> int:
    """The numbers of one item: `*`, `a`, `a-b`, each also with a step."""
    found = _ITEM.fullmatch(item)
    if found is None:
        raise CronError("Component error: Invalid number.")
    step = 1 if found["step"] is None else int(found["step"])
    if step == 0:
        raise CronError("Component error: Step cannot be zero.")
    first, last = found["first"], found["last"]
    start = low if first is None else int(first)
    end = start if last is None else int(last)
    if last is None and (first is None or found["step"] is not None):
        end = high
    if not low <= start <= high:
        raise CronError("Component error: Number out of bounds.")
    if not start <= end <= high:
        raise CronError("Component error: Range out of bounds.")
    bits = 0
    for number in range(start, end + 1, step):
        bits |= 1 << number
    return bits
