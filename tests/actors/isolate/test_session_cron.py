"""Cron jobs of one isolate, with the real engine and prelude: how they are declared, how their runs go."""

from __future__ import annotations

import random

import orjson
import pytest

from flora.actors.cron_dialect import CronError, parse
from flora.actors.isolate.declared_jobs import NO_FUTURE
from flora.actors.isolate.progress import last_started, read_recorder
from flora.actors.isolate.session import IsolateSession
from flora.messages.dispatch import Outcome

pytestmark = pytest.mark.service

AT = "2026-06-01T12:01:00.250000+00:00"


def run(b, name: str = "job", key: int = 1) -> None:
    b.sessions[key].run_job(name, orjson.dumps({"name": name, "scheduledAt": AT}).decode())
    b._collect_messages()


def test_given_jobs_when_the_script_loads_then_they_are_told_with_what_was_asked_for(bench):
    b = bench()

    loaded = b.deploy(
        "cron('a', '* * * * *', () => {}, { skipIfRunning: true }); cron('b', '@daily', () => {}, { catchUp: 'once' })"
    )

    assert loaded.error is None
    assert [(j.name, j.expression, j.skip_if_running, j.catch_up) for j in b.jobs] == [
        ("a", "* * * * *", True, False),
        ("b", "@daily", False, True),
    ]


@pytest.mark.scenario("T56")
def test_given_a_job_when_it_runs_then_its_handler_gets_both_shapes_of_the_context(bench):
    b = bench()
    b.deploy(
        "cron('job', '* * * * *', (ctx) => console.log([ctx.name, ctx.scheduledAt, ctx.msg.name, ctx.msg.scheduledAt].join()))"
    )

    run(b)
    b.until(lambda: b.jobs_done)

    assert b.logs == [f"job,{AT},job,{AT}"]
    assert b.jobs_done == [("job", Outcome.OK)]
    assert b.done == {}


@pytest.mark.scenario("T55")
@pytest.mark.parametrize(
    ("registered", "error"),
    [
        (
            "for (let n = 0; n < 3; n++) cron('job ' + n, '@daily', () => {})",
            "max cron jobs exceeded for this guild/runtime",
        ),
        (
            "cron('a', '@daily', () => {}); cron('b', '@daily', () => {}); cron('a', '@daily', () => {})",
            "max cron jobs exceeded for this guild/runtime",
        ),
        ("cron('a', '@daily', () => {}); cron('a', '@daily', () => {})", "cron job with name 'a' already exists"),
        (
            "cron('a', '@daily', () => {}); cron('b', '@daily', () => {}); cron('a', '61 * * * *', () => {})",
            "invalid cron expression '61 * * * *': Component error: Number out of bounds.",
        ),
        ("cron('a', 'whenever', () => {})", "Invalid pattern: Pattern must have between 5 and 7 fields."),
        ("cron('a', '* '.repeat(1000), () => {})", "Pattern is longer than 1024 characters."),
        (
            "cron('a', '0 0 30 2 *', () => {})",
            "cron schedule has no future occurrences: CronScheduler time search limit exceeded.",
        ),
        ("cron('a', ', * * * *', () => {})", "cron schedule has no future occurrences"),
        ("cron('a', '@daily', () => {}, { catchUp: 'always' })", 'cron catchUp must be "once" or "none"'),
    ],
)
def test_given_a_job_that_cannot_be_when_the_script_loads_then_the_load_fails_and_says_why(bench, registered, error):
    b = bench(max_cron_jobs=2)

    loaded = b.deploy(registered)

    assert error in loaded.error
    assert b.jobs is None


def test_given_an_error_that_the_script_caught_when_it_loads_then_the_jobs_that_are_right_stay(bench):
    b = bench()

    b.deploy(
        "cron('a', '@daily', () => {}); try { cron('a', '@hourly', () => {}) } catch (e) { console.log(e.message) }"
    )

    assert [(job.name, job.expression) for job in b.jobs] == [("a", "@daily")]
    assert b.logs == ["cron job with name 'a' already exists"]


def test_given_a_bad_expression_when_it_is_declared_then_that_line_throws_and_the_name_stays_free(bench):
    b = bench()

    loaded = b.deploy("""
        try { cron('a', 'nonsense', () => {}) } catch (e) { console.log(e.message) }
        cron('a', '@hourly', () => {})
    """)

    assert loaded.error is None
    assert [(job.name, job.expression) for job in b.jobs] == [("a", "@hourly")]
    assert b.logs == ["invalid cron expression 'nonsense': Invalid pattern: Pattern must have between 5 and 7 fields."]


def test_given_a_job_that_never_comes_due_while_the_script_serves_then_the_author_is_told_and_the_name_is_free(bench):
    b = bench()
    b.deploy("on('messageCreate', (c) => cron('new', c.msg.content, () => console.log('ran')))")

    b.send(1, "0 0 30 2 *")
    b.until(lambda: b.logs)
    b.send(2, "@hourly")
    b.until(lambda: b.jobs)
    run(b, "new")
    b.until(lambda: b.jobs_done)

    assert b.logs == [
        f"cron failed: {NO_FUTURE} (job 'new' will not run)",
        "ran",
    ]
    assert [(job.name, job.expression) for job in b.jobs] == [("new", "@hourly")]


PIECES = [
    *("*", "*", "*", "0", "1", "5", "7", "8", "12", "31", "59", "60", "24", "13", "5000", "007"),
    *(
        ",",
        "-",
        "/",
        "?",
        "+",
        "#",
        "L",
        "W",
        "#L",
        "MON",
        "sun",
        "-SUN",
        "JAN",
        "dec",
        "@daily",
        "R",
        "\u00df",
        "x",
        "",
    ),
]


def some_expressions(count: int) -> list[str]:
    """Mostly wrong, often nearly right."""
    rng = random.Random(20260601)
    found = [
        "@DAILY",
        "@midnight",
        " ",
        "\t* *\n* * *",
        "1-2-3 * * * *",
        "1/2/3 * * * *",
        "0 0 * * #L",
        "0 0 * * 1L#2",
        "0 0 LW * *",
    ]
    while len(found) < count:
        fields = ["".join(rng.choices(PIECES, k=rng.randint(1, 3))) for _ in range(rng.choice([4, 5, 5, 6, 6, 7, 8]))]
        for place in range(len(fields)):
            if rng.random() < 0.85:
                fields[place] = rng.choice(["*", "*/5", "1", "2-5", "1,3", ",7,", "5-1", "1-5/2"])
        found.append(" ".join(fields))
    return found


def test_given_many_expressions_when_the_prelude_and_the_host_read_them_then_they_agree_also_on_what_is_wrong(bench):
    b = bench(max_cron_jobs=10_000, log_lines_per_second=0, load_timeout_s=10)
    expressions = some_expressions(900)

    b.deploy(f"""
        let n = 0
        for (const expression of {orjson.dumps(expressions).decode()}) {{
          try {{ cron('job ' + n++, expression, () => {{}}); console.log('fine') }} catch (e) {{ console.log(e.message) }}
        }}
        throw new Error('this is enough')
    """)

    verdicts = [_verdict(expression) for expression in expressions]
    assert b.logs[:900] == verdicts
    assert 100 < verdicts.count("fine") < 800


def _verdict(expression: str) -> str:
    try:
        parse(expression)
    except CronError as exc:
        return f"invalid cron expression '{expression}': {exc}"
    return "fine"


@pytest.mark.scenario("T65")
def test_given_a_handler_that_rejects_when_it_runs_then_the_log_says_so_and_the_job_stays(bench):
    b = bench()
    b.deploy("cron('job', '* * * * *', async () => { throw new Error('no coffee') })")

    run(b)
    run(b)
    b.until(lambda: len(b.jobs_done) == 2)

    assert b.jobs_done == [("job", Outcome.THREW)] * 2
    assert all(line.startswith("cron failed: Error: no coffee") for line in b.logs)
    assert len(b.jobs) == 1


@pytest.mark.scenario("T58")
def test_given_a_handler_that_waits_too_long_when_its_limit_passes_then_it_timed_out_and_the_isolate_has_the_same_jobs(
    bench,
):
    b = bench(cron_timeout_s=0.2)
    b.deploy("cron('job', '* * * * *', async () => { for (;;) await new Promise((r) => setTimeout(r, 5)) })")
    before, b.jobs = b.jobs, None

    run(b)
    b.until(lambda: b.jobs is not None)

    assert b.jobs_done == [("job", Outcome.TIMED_OUT)]
    assert b.logs[0] == "cron failed: cron timed out (limit 0.2 s)"
    assert b.jobs == before
    assert b.rebuilt == 1


def test_given_events_and_runs_when_they_are_sent_then_they_start_in_the_order_they_came(bench):
    b = bench()
    b.deploy(
        "on('messageCreate', (c) => console.log(c.msg.content)); cron('job', '* * * * *', () => console.log('job'))"
    )

    b.send(1_700_000_000_000_000, "one")
    run(b)
    b.send(1_700_000_000_000_001, "two")
    run(b)
    b.until(lambda: len(b.jobs_done) == 2 and len(b.done) == 2)

    assert b.logs == ["one", "job", "two", "job"]


def test_given_a_run_after_an_event_when_the_flight_recorder_is_read_then_it_still_names_the_event(bench, tmp_path):
    b = bench()
    b.deploy("on('messageCreate', () => {}); cron('job', '* * * * *', () => new Promise((r) => setTimeout(r, 1e4)))")

    b.send(1_700_000_000_000_000, "one")
    b.until_done(1_700_000_000_000_000)
    run(b)
    b.until(lambda: b.sessions[1]._isolate.progress().job_runs_started == 1)

    assert last_started(read_recorder(tmp_path / "recorder")) == {"55": 1_700_000_000_000_000}


def test_given_a_run_behind_an_event_that_hangs_when_the_isolate_is_rebuilt_then_the_run_is_not_lost(bench):
    b = bench()
    b.deploy("""
        on('messageCreate', async () => { while (true) await 0 })
        cron('job', '* * * * *', () => console.log('job ran'))
    """)

    b.send(1, "hang")
    run(b)
    b.until(lambda: b.jobs_done)

    assert b.done == {1: Outcome.TIMED_OUT}
    assert b.jobs_done == [("job", Outcome.OK)]
    assert "job ran" in b.logs


def test_given_a_job_whose_year_is_over_when_the_script_is_restored_then_it_loads_without_it(bench):
    b = bench()
    script = "cron('over', '0 0 0 1 1 * 2020', () => {}); cron('on', '@daily', () => {})"

    session = b.sessions[1] = IsolateSession(1, "55", b.host)
    session.load(script, None, {}, restore=True)
    b.until(lambda: 1 in b.loaded)
    refused = b.deploy(script, key=2)

    assert b.loaded[1].error is None
    assert [job.name for job in b.jobs] == ["on"]
    assert any("(job 'over' will not run)" in line for line in b.logs)
    assert "no future occurrences" in refused.error
