"""The whole dialect, against vectors and against rules that hold for every expression."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from flora.actors.cron_dialect import MAX_CHARS, CronError, parse
from flora.actors.cron_schedule import Schedule, schedule_of, utc

pytestmark = pytest.mark.scenario("T54")

SPRING = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)  # a Saturday
WINTER = datetime(2026, 1, 15, 12, 0, 10, tzinfo=UTC)

FROM_SPRING = {
    "* * * * *": "2026-03-14 09:27:00",
    "*/15 * * * *": "2026-03-14 09:30:00",
    "5,35 8-10 * * *": "2026-03-14 09:35:00",
    "0 */6 * * *": "2026-03-14 12:00:00",
    "30 4 1,15 * 5": "2026-03-15 04:30:00",
    "23 0-20/2 * * *": "2026-03-14 10:23:00",
    "15 14 1 * *": "2026-04-01 14:15:00",
    "0 22 * * 1-5": "2026-03-16 22:00:00",
    "*/20 * * * * *": "2026-03-14 09:27:00",
    "30 26 9 14 3 *": "2027-03-14 09:26:30",
    "54 26 9 14 3 * 2026": "2026-03-14 09:26:54",
    "0 0 14 3 6": "2026-03-21 00:00:00",  # either the day of the month or the day of the week
    "0 0 1 * 0": "2026-03-15 00:00:00",
    "0 0 1 * +0": "2026-11-01 00:00:00",
    "30 9 * * MON#1": "2026-04-06 09:30:00",
    "0 12 * JUN-AUG SUN": "2026-06-07 12:00:00",
    "0 0 L 2 *": "2027-02-28 00:00:00",
    "0 0 30W 5 *": "2026-05-29 00:00:00",
    "0 0 */10 * *": "2026-03-21 00:00:00",
    "0 0 29-31 2 *": "2028-02-29 00:00:00",
    "0 0 * * 1/2": "2026-03-15 00:00:00",
    "0 0 * * 5-6#L": "2026-03-27 00:00:00",
    "0-30/10,45 * * * *": "2026-03-14 09:30:00",
    "53 26 9 14 3 * 2026": None,
}
FROM_WINTER = {
    "0 0 13 * 5": "2026-01-16 00:00:00",
    "0 0 13 * +5": "2026-02-13 00:00:00",
    "0 0 15W * *": "2026-02-16 00:00:00",
    "0 0 1W 8 *": "2026-08-03 00:00:00",
    "0 0 * * 5#2": "2026-02-13 00:00:00",
    "0 0 * * 5L": "2026-01-30 00:00:00",
    "0 0 * * FRI-SUN": "2026-01-16 00:00:00",
    "0 0 29 2 *": "2028-02-29 00:00:00",
    "@weekly": "2026-01-18 00:00:00",
    "*/90 * * * *": "2026-01-15 13:00:00",
    "10-40/15 * * * *": "2026-01-15 12:10:00",
    "0 0 0 1 1 * 2026-2030/2": "2028-01-01 00:00:00",
}
NEVER = (
    *("0 0 30 2 *", "0 0 31 4 *", "0 0 31 2 +1", "0 0 * * L", "0 0 * * 7L", "0 0 * * 7#L"),
    *(", * * * *", "0 0 0 1 1 * 2025", "* * , * *"),
)
REFUSED = (
    *("* * * *", "* * * * * * * *", "60 * * * *", "0 24 * * *", "0 0 0 * *", "0 0 32 * *", "0 0 * 13 *", "0 0 * * 8"),
    *("5-1 * * * *", "-1 * * * *", "*/0 * * * *", "/5 * * * *", "? * * * *", "L * * * *", "a * * * *", "+5 * * * *"),
    *("1-2-3 * * * *", "1/2/3 * * * *", "0 0 * MARCH *", "0 0 W * *", "0 0 L-2 * *", "0 0 LW * *", "0 0 * * 1#0"),
    *("0 0 * * 1#6", "0 0 * * 1-5L", "0 0 * * MONDAY", "@midnight", "@reboot", "0 0 * * * 2027", "", "   "),
    *("R * * * *", "0 0 R * *", "٣ * * * *", "0 0 * * #", "0 0 * * 1#", "0 0 * * 2L3", "0 0 0 1 1 * 5001"),
)


def next_of(expression: str, after: datetime) -> str | None:
    found_s = schedule_of(expression).next_after(after.timestamp())
    return None if found_s is None else utc(found_s).strftime("%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize(("expression", "expected"), FROM_SPRING.items())
def test_given_an_expression_when_asked_on_a_saturday_in_march_then_its_next_time_is_known(expression, expected):
    assert next_of(expression, SPRING) == expected


@pytest.mark.parametrize(("expression", "expected"), FROM_WINTER.items())
def test_given_an_expression_when_asked_on_a_thursday_in_january_then_its_next_time_is_known(expression, expected):
    assert next_of(expression, WINTER) == expected


@pytest.mark.parametrize("expression", NEVER)
def test_given_an_impossible_date_when_asked_then_there_is_none_and_it_costs_little(expression):
    started_s = time.perf_counter()

    found = Schedule(parse(expression)).next_after(WINTER.timestamp())

    assert found is None
    assert time.perf_counter() - started_s < 0.05


@pytest.mark.parametrize("expression", REFUSED)
def test_given_what_is_not_of_the_dialect_when_read_then_it_is_refused(expression):
    with pytest.raises(CronError):
        parse(expression)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "CronPattern cannot be an empty string."),
        ("* *", "Invalid pattern: Pattern must have between 5 and 7 fields."),
        ("60 * * * *", "Component error: Number out of bounds."),
        ("5-1 * * * *", "Component error: Range out of bounds."),
        ("*/0 * * * *", "Component error: Step cannot be zero."),
        ("/5 * * * *", "Component error: Invalid number."),
        ("0 0 * * 1#6", "Component error: Nth specifier out of bounds."),
        ("0 0 * * MONDAY", "Pattern contains illegal characters: 1DAY"),
        ("0" * 2000, f"Invalid pattern: Pattern is longer than {MAX_CHARS} characters."),
    ],
)
def test_given_a_refusal_when_read_then_it_says_why(expression, reason):
    with pytest.raises(CronError) as refused:
        parse(expression)

    assert str(refused.value) == reason


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("@yearly", "0 0 0 1 1 * *"),
        ("@Annually", "@yearly"),
        ("@MONTHLY", "0 0 1 * *"),
        ("@weekly", "0 0 * * 7"),
        ("@daily", "0 0 ? * ?"),
        ("  @hourly ", "0  *\t* * *"),
        (",30,,  * * * *", "30 * * * *"),
        ("0 0 * jan,Dec Mon", "0 0 * 1,12 1"),
        ("0 0 L,15 * *", "0 0 15,L * *"),
        ("5/200 * * * *", "5 * * * *"),
        ("0 0 * * sun#2", "0 0 * * 7#2"),
    ],
)
def test_given_two_ways_to_say_the_same_when_asked_then_both_come_due_together(short, long):
    at_s, times = SPRING.timestamp(), []
    for _ in range(5):
        found = schedule_of(short).next_after(at_s), schedule_of(long).next_after(at_s)
        times.append(found)
        assert found[0] is not None
        at_s = found[0]

    assert all(one == other for one, other in times)


def test_given_a_list_with_an_nth_weekday_when_asked_then_it_holds_for_its_item_alone():
    at_s, days = SPRING.timestamp(), []
    for _ in range(6):
        at_s = schedule_of("0 0 * * 1,3#2").next_after(at_s) or 0
        days.append(utc(at_s).strftime("%m-%d"))

    assert days == ["03-16", "03-23", "03-30", "04-06", "04-08", "04-13"]  # Mondays, and the second Wednesday


def test_given_a_fraction_of_a_second_when_asked_then_the_time_is_a_whole_second():
    assert schedule_of("* * * * *").next_after(WINTER.timestamp() + 0.5) == WINTER.timestamp() + 50
    assert schedule_of("* * * * * *").next_after(WINTER.timestamp() + 0.999) == WINTER.timestamp() + 1


@pytest.mark.scenario("T63")
@pytest.mark.parametrize(
    "hostile",
    [
        ", * * * *",
        "9" * 5000 + " * * * *",
        ",".join(["1"] * 20_000) + " * * * *",
        "9" * 1000 + " * * * *",
        ",".join(["1"] * 500) + " * * * *",
        "*/1" * 300 + " * * * *",
        "0 0 " + "31W," * 240 + " 2 *",
        "0 0 0 31 2 * " + ",".join(["5000"] * 150),
        "0 0 * * " + "L" * 1000,
        "\x00 * * * *",
    ],
    ids=lambda text: text[:12],
)
def test_given_a_hostile_expression_when_read_and_asked_then_it_is_over_in_50_ms(hostile):
    started_s = time.perf_counter()
    try:
        found = Schedule(parse.__wrapped__(hostile)).next_after(WINTER.timestamp())
    except CronError:
        found = None
    elapsed_s = time.perf_counter() - started_s

    assert elapsed_s < 0.05
    assert found is None or hostile.startswith("1,")


# Rules that hold for every expression

NUMBERS = {"sec": (0, 59), "min": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}


@st.composite
def plain_field(draw: st.DrawFn, kind: str) -> str:
    low, high = NUMBERS[kind]
    items = []
    for _ in range(draw(st.integers(1, 3))):
        first = draw(st.integers(low, high))
        last = draw(st.integers(first, high))
        step = draw(st.integers(1, 40))
        items.append(draw(st.sampled_from(["*", f"{first}", f"{first}-{last}", f"{first}-{last}/{step}", f"*/{step}"])))
    return ",".join(items)


@st.composite
def expressions(draw: st.DrawFn) -> str:
    day = st.sampled_from(["*", "?", "L", "15W", "31W", "1,L", "29-31"]) | plain_field("day")
    weekday = st.sampled_from(["*", "?", "+1", "5L", "1-5#2", "0#L", "FRI-SUN", "+MON#1"]) | plain_field("weekday")
    fields = [draw(plain_field(kind)) for kind in ("sec", "min", "hour")]
    return " ".join([*fields, draw(day), draw(plain_field("month")), draw(weekday)])


MOMENTS = st.floats(min_value=0, max_value=60_000_000_000)


@settings(deadline=None, max_examples=60)
@given(expression=expressions(), at_s=MOMENTS)
def test_given_any_expression_when_asked_then_the_next_time_is_later_and_matches(expression, at_s):
    schedule = schedule_of(expression)

    found_s = schedule.next_after(at_s)

    if found_s is not None:
        assert found_s > at_s
        assert matches(expression, utc(found_s))
        assert schedule.next_after(found_s - 1) == found_s


@settings(deadline=None, max_examples=60)
@given(expression=expressions(), at_s=MOMENTS, later_s=st.floats(min_value=0, max_value=400 * 86_400))
def test_given_two_moments_when_asked_then_the_later_one_never_has_the_earlier_next_time(expression, at_s, later_s):
    schedule = schedule_of(expression)

    first, second = schedule.next_after(at_s), schedule.next_after(at_s + later_s)

    assert second is None or (first is not None and first <= second)


def some(kind: str) -> st.SearchStrategy[str]:
    """A list of numbers: of steps and short ranges croniter makes something else (`12-12` is `*` to it)."""
    low, high = NUMBERS[kind]
    return st.sets(st.integers(low, high), min_size=1, max_size=5).map(lambda found: ",".join(map(str, sorted(found))))


@settings(deadline=None, max_examples=60)
@given(
    minute=some("min"),
    hour=some("hour"),
    month=some("month"),
    days=st.tuples(some("day"), st.just("*"))
    | st.tuples(st.just("*"), some("weekday"))
    | st.tuples(some("day"), some("weekday")),
    start_s=st.integers(946_684_800, 2_840_140_800),  # 2000 to 2060
)
def test_given_what_croniter_also_speaks_when_asked_then_both_agree(minute, hour, month, days, start_s):
    expression = f"{minute} {hour} {days[0]} {month} {days[1]}"
    start = utc(start_s)

    found_s = schedule_of(expression).next_after(start_s)

    if found_s is not None and utc(found_s) < start + timedelta(days=1500):
        assert croniter(expression, start).get_next(datetime) == utc(found_s)


def matches(expression: str, moment: datetime) -> bool:
    """A second, slow reading of the plain fields: straight from the text."""
    texts = expression.split()
    values = (moment.second, moment.minute, moment.hour, moment.month)
    fields = (texts[0], texts[1], texts[2], texts[4])
    lows_and_highs = (NUMBERS["sec"], NUMBERS["min"], NUMBERS["hour"], NUMBERS["month"])
    return all(
        any(_in_item(item, value, *limits) for item in text.split(","))
        for text, value, limits in zip(fields, values, lows_and_highs, strict=True)
    )


def _in_item(item: str, value: int, low: int, high: int) -> bool:
    span, _, step = item.partition("/")
    first, _, last = span.partition("-")
    start = low if first == "*" else int(first)
    end = high if first == "*" else int(last or first)
    return start <= value <= end and (value - start) % int(step or 1) == 0
