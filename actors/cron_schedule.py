"""When a cron expression comes due next. UTC, whole seconds, no daylight saving. Pure.

Days are looked up in one of the fourteen calendars there are (leap year or not, weekday of the first of January), each kept as the bits of
its matching days. So an impossible date costs fourteen looks, and the search ends with the year 5000 at the latest. The time of day is
croniter's: minutes, hours and seconds are the part of the dialect that it shares.
"""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Final

from croniter import croniter

from flora.actors.cron_dialect import LAST_YEAR, CronFields, parse

DAY_S: Final = 86_400
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_ANY_DAY_S: Final = 400 * DAY_S  # croniter is only asked about this day


class Schedule:
    """One expression. Shared by all jobs that have it."""

    def __init__(self, fields: CronFields) -> None:
        self.fields = fields
        self._calendars: dict[tuple[bool, int], int] = {}
        self._times: croniter | None = None
        if fields.seconds and fields.minutes and fields.hours:  # a field of commas alone matches nothing
            minutes, hours = _listed(fields.minutes, 60), _listed(fields.hours, 24)
            self._times = croniter(f"{minutes} {hours} * * * {_listed(fields.seconds, 60)}", _ANY_DAY_S)
        self._first_time_s = self._time_of_day(0)
        # The last answer, and from when on it holds. At a full minute hundreds of guilds ask the same.
        self._known_from_s, self._known_s = 0, 0

    def next_after(self, now_s: float) -> int | None:
        """The first second that matches and is later than `now_s`; both in seconds since the epoch. None: there is none any more."""
        if self._first_time_s is None:
            return None
        if self._known_from_s <= now_s < self._known_s:
            return self._known_s
        found_s = self._search(int(now_s // 1), self._first_time_s)
        if found_s is not None:
            self._known_from_s, self._known_s = int(now_s // 1), found_s
        return found_s

    def _search(self, now_s: int, first_time_s: int) -> int | None:
        days, time_s = divmod(now_s + 1, DAY_S)
        day = date.fromordinal(_EPOCH_DAY + days)
        if day.year <= LAST_YEAR and self._matches(day):
            found_s = self._time_of_day(time_s)
            if found_s is not None:
                return days * DAY_S + found_s
        following = self._day_after(day)
        return None if following is None else (following.toordinal() - _EPOCH_DAY) * DAY_S + first_time_s

    def _time_of_day(self, from_s: int) -> int | None:
        if self._times is None:
            return None
        self._times.set_current(_ANY_DAY_S + from_s - 1, force=True)
        found_s = int(self._times.get_next(float)) - _ANY_DAY_S
        return found_s if found_s < DAY_S else None

    def _matches(self, day: date) -> bool:
        return bool(self.fields.years >> day.year & 1 and self._calendar(day.year) >> _of_year(day) & 1)

    def _day_after(self, day: date) -> date | None:
        from_day = _of_year(day) + 1
        for year in range(day.year, LAST_YEAR + 1):
            if self.fields.years >> year & 1:
                left = self._calendar(year) >> from_day
                if left:
                    return date.fromordinal(date(year, 1, 1).toordinal() + from_day + (left & -left).bit_length() - 1)
            from_day = 0
        return None

    def _calendar(self, year: int) -> int:
        kind = calendar.isleap(year), date(year, 1, 1).isoweekday() % 7
        found = self._calendars.get(kind)
        if found is None:
            found = self._calendars[kind] = _matching_days(self.fields, year)
        return found


@lru_cache(maxsize=1024)
def schedule_of(expression: str) -> Schedule:
    """Reads an expression.

    Raises:
        CronError: it is not of this dialect.
    """
    return Schedule(parse(expression))


def utc(at_s: float) -> datetime:
    """Seconds since the epoch as an aware time, to the microsecond."""
    return datetime.fromtimestamp(at_s, UTC)


def _of_year(day: date) -> int:
    return day.timetuple().tm_yday - 1


def _listed(bits: int, size: int) -> str:
    numbers = [str(number) for number in range(size) if bits >> number & 1]
    return "*" if len(numbers) == size else ",".join(numbers)


def _matching_days(fields: CronFields, year: int) -> int:
    """The bits of a year's matching days, the first of January being bit 0."""
    bits, offset = 0, 0
    for month in range(1, 13):
        monday_first, length = calendar.monthrange(year, month)
        if fields.months >> month & 1:
            first_weekday = (monday_first + 1) % 7
            for day in range(1, length + 1):
                if _day_matches(fields, day, length, first_weekday):
                    bits |= 1 << (offset + day - 1)
        offset += length
    return bits


def _day_matches(fields: CronFields, day: int, length: int, first_weekday: int) -> bool:
    by_day = bool(
        fields.days >> day & 1
        or (fields.last_day and day == length)
        or (fields.near_days and any(_nearest(n, length, first_weekday) == day for n in _numbers(fields.near_days)))
    )
    weekday = (first_weekday + day - 1) % 7
    by_weekday = bool(
        fields.weekdays >> weekday & 1
        or fields.nth_weekdays[(day - 1) // 7] >> weekday & 1
        or (day > length - 7 and fields.last_weekdays >> weekday & 1)
    )
    if fields.days_restricted and fields.weekdays_restricted and not fields.both:
        return by_day or by_weekday
    return by_day and by_weekday


def _numbers(bits: int) -> list[int]:
    return [number for number in range(1, 32) if bits >> number & 1]


def _nearest(day: int, length: int, first_weekday: int) -> int | None:
    """The weekday nearest to a day of the month, without leaving the month; None where the month has no such day."""
    if day > length:
        return None
    match (first_weekday + day - 1) % 7:
        case 6:
            return day - 1 if day > 1 else day + 2
        case 0:
            return day + 1 if day < length else day - 2
        case _:
            return day
