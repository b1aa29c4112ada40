"""How a session ends what goes too far, makes an isolate anew, and holds its guild to what it may use."""

from __future__ import annotations

import time

import orjson
import pytest

from flora.actors.isolate.engine import Closed
from flora.actors.supervision import REBUILDS
from flora.messages.dispatch import Outcome

pytestmark = pytest.mark.service

LIMIT_S = 0.3
MINUTE_S = 60.0
SPINS_IN_MICROTASKS = "on('messageCreate', async (c) => { if (c.msg.content === 'spin') while (true) await 0; console.log(c.msg.content) })"


def log_of(b, text: str) -> str:
    return next((line for line in b.logs if text in line), "")


# Cron runs go the same way


def test_given_a_cron_run_that_takes_too_long_when_its_own_limit_passes_then_it_timed_out(bench):
    b = bench(cron_timeout_s=0.2, dispatch_timeout_s=30)
    b.deploy("cron('tick', '* * * * *', () => { while (true) {} })")

    b.send(1, "x", name="__cron:tick")
    b.until_done(1)

    assert b.done == {1: Outcome.TIMED_OUT}
    assert b.logs == ["cron failed: cron timed out (limit 0.2 s)"]


@pytest.mark.scenario("T39")
def test_given_a_dispatch_that_returns_a_plain_value_when_a_cron_run_comes_then_it_fails(bench):
    b = bench()
    b.deploy("globalThis.__floraDispatch = () => 5")

    b.send(1, "x", name="__cron:tick")
    b.until_done(1)

    assert b.done == {1: Outcome.NOT_A_PROMISE}
    assert b.logs == ["cron failed: Dispatch did not return a promise"]


def test_given_a_cron_run_that_is_left_hanging_when_nothing_is_pending_then_it_is_done(bench):
    b = bench()
    b.deploy("cron('tick', '* * * * *', () => new Promise(() => {}))")

    b.send(1, "x", name="__cron:tick")
    b.until_done(1)

    assert b.done == {1: Outcome.OK}


# No limit


@pytest.mark.scenario("T40c")
def test_given_no_dispatch_limit_when_a_handler_takes_its_time_then_nothing_ends_it(bench):
    b = bench(dispatch_timeout_s=0)
    b.deploy("on('messageCreate', async () => { await new Promise((r) => setTimeout(r, 700)); console.log('done') })")

    b.send(1, "x")
    b.sessions[1].check(time.monotonic() + 1000)
    b.until_done(1)

    assert b.done == {1: Outcome.OK}
    assert b.logs == ["done"]


@pytest.mark.scenario("T17")
def test_given_no_load_limit_when_the_top_level_waits_then_the_load_waits_with_it(bench):
    b = bench(load_timeout_s=0)
    script = "await new Promise((r) => setTimeout(r, 700)); on('messageCreate', () => {})"

    assert b.deploy(script).error is None
    assert b.handlers == ("messageCreate",)


# Loads


@pytest.mark.scenario("T17", "T31")
@pytest.mark.parametrize(
    "hangs",
    [
        "while (true) {}",
        "while (true) await 0",
        "setTimeout(() => { while (true) {} }, 1); await new Promise(() => {})",
        "for (;;) try { for (;;); } finally { continue }",
    ],
)
def test_given_a_load_that_does_not_end_when_its_limit_passes_then_it_is_refused_and_its_isolate_gone(bench, hangs):
    b = bench(load_timeout_s=LIMIT_S)
    began = time.monotonic()

    failed = b.deploy(hangs)
    took_s = time.monotonic() - began
    b.until(lambda: not b.host._engine.isolates)

    assert (failed.code, failed.error) == ("LOAD_TIMED_OUT", "module_load timed out")
    assert took_s < LIMIT_S + 1.0
    b.sessions[1].close(0)
    b.until(lambda: 1 in b.closed)


@pytest.mark.scenario("T16")
def test_given_a_boot_that_does_not_end_when_its_limit_passes_then_the_load_says_so_and_the_next_isolate_opens(bench):
    b = bench(boot_timeout_s=LIMIT_S)
    good = b.host._sdk
    b.host._sdk = "while (true) {}"

    failed = b.deploy("", key=1)
    b.host._sdk = good

    assert (failed.code, failed.error) == ("LOAD_TIMED_OUT", "bootstrap timed out")
    assert b.deploy("", key=2).error is None


# What a timed-out run had asked for


@pytest.mark.scenario("T29", "T30")
def test_given_calls_of_a_run_that_is_ended_when_it_held_v8_then_none_leaves_and_those_of_others_do(bench):
    b = bench()
    b.deploy(
        "on('messageCreate', async (c) => {"
        " if (c.msg.content !== 'spin') return c.reply(c.msg.content);"
        " c.reply('from the grave'); Promise.resolve().then(() => c.reply('and again')); while (true) {} })"
    )

    b.send(1, "spin")
    b.until_done(1)
    b.send(2, "alive")
    b.until_done(2)

    assert b.done == {1: Outcome.TIMED_OUT, 2: Outcome.OK}
    assert b.bodies() == ["alive"]
    assert b.rebuilt == 0


def test_given_events_that_wait_when_another_is_ended_with_its_isolate_then_they_fail_for_no_fault_of_theirs(bench):
    b = bench()
    b.answer_calls = False
    b.deploy(
        "on('messageCreate', async (c) => { if (c.msg.content === 'spin') while (true) await 0; await c.reply('x') })"
    )

    b.send(1, "waits")
    b.until(lambda: b.calls)
    b.send(2, "spin", "later")
    b.until_done(1, 2)

    assert (b.done[1], b.done[2]) in {(Outcome.DIED, Outcome.TIMED_OUT), (Outcome.TIMED_OUT, Outcome.TIMED_OUT)}
    assert b.cancelled == [b.calls[0][0]]


# Rebuilding


@pytest.mark.scenario("T35")
def test_given_faults_in_a_row_when_rebuilt_then_the_first_is_at_once_and_the_next_ones_after_growing_pauses(bench):
    b = bench()
    b.deploy(SPINS_IN_MICROTASKS)
    pauses = []

    for seq in range(1, 5):
        b.send(seq, "spin")
        b.until_done(seq)
        pauses.append(b.asked_usage()["resting_s"])
        b.until(lambda: b.sessions[1]._is_gone or not pauses[-1])
        b.sessions[1].check(time.monotonic() + MINUTE_S)
        b.until(lambda seq=seq: b.rebuilt == seq)
    b.send(9, "well")
    b.until_done(9)

    assert pauses[0] == 0.0
    assert 0.5 < pauses[1] <= 1.0
    assert 1.0 < pauses[2] <= 2.0
    assert 2.0 < pauses[3] <= 4.0
    assert b.done[9] == Outcome.OK
    assert "it is started again now" in b.logs[1]
    assert log_of(b, "its events wait until then")
    assert b.usage["rebuilds"] == 4


def test_given_a_guild_that_rests_when_events_come_then_they_wait_and_run_in_order(bench):
    b = bench()
    b.deploy(SPINS_IN_MICROTASKS)
    for seq in (1, 2):
        b.send(seq, "spin")
        b.until_done(seq)
        b.until(lambda: b.rebuilt == 1)

    b.send(3, "three", "four")
    b.until(lambda: b.wake_in_s)
    assert b.asked_usage()["state"] == "resting"
    assert 3 not in b.done
    b.sessions[1].check(time.monotonic() + MINUTE_S)
    b.until_done(3, 4)

    assert b.order == [1, 2, 3, 4]
    assert b.usage["state"] == "resting"
    assert b.asked_usage()["state"] == "serving"


@pytest.mark.scenario("T35")
def test_given_a_script_that_loads_no_more_when_rebuilt_often_enough_then_it_is_given_up_with_the_reason(bench):
    b = bench(load_timeout_s=0.2)
    b.deploy("on('messageCreate', async () => { while (true) await 0 })")
    b.sessions[1]._script = "throw new Error('no more')"

    b.send(1, "spin", "waits")
    b.until_done(1)
    while b.lost is None:
        b.until(lambda: b.lost or b.asked_usage()["state"] == "resting")
        b.until(lambda: b.sessions[1]._is_gone)
        b.sessions[1].check(time.monotonic() + MINUTE_S)

    assert f"given up after {REBUILDS.max_failed_loads} attempts" in b.lost
    assert "Error: no more" in b.lost
    assert "the script was ended for good" in b.logs[-1]
    assert b.asked_usage()["state"] == "failed"
    b.sessions[1].close(0)
    b.until(lambda: 1 in b.closed)
    assert [event[0] for event in b.unstarted] == [2]


def test_given_a_guild_that_rests_when_it_is_replaced_then_its_events_are_handed_back(bench):
    b = bench()
    b.deploy(SPINS_IN_MICROTASKS)
    for seq in (1, 2):
        b.send(seq, "spin")
        b.until_done(seq)
        b.until(lambda: b.rebuilt == 1)
    b.send(3, "three", "four")

    b.sessions[1].close(2.0)
    b.until(lambda: 1 in b.closed)

    assert [event[0] for event in b.unstarted] == [3, 4]
    assert set(b.done) == {1, 2}


# An isolate that does not end


def test_given_a_close_that_does_not_return_when_rebuilding_then_the_guild_is_wedged_until_it_does(bench):
    b = bench()
    b.deploy(SPINS_IN_MICROTASKS)
    session = b.sessions[1]

    b.send(1, "spin", "waits")
    b.until_done(1)
    b.until(lambda: b.rebuilt == 1)
    b.until_done(2)
    b.send(3, "spin", "waits")
    b.until(lambda: session._isolate.progress().started_seq == 3)
    generation = session._generation
    session.check(time.monotonic() + 10)
    session.check(time.monotonic() + 20)
    session.said(generation, Closed(wedged=True))
    b.until_done(3)

    assert b.done[3] == Outcome.TIMED_OUT
    assert b.wedged == "dispatch timed out (limit 0.3 s)"
    assert 4 not in b.done, "the router sends it elsewhere"
    b.until(lambda: 1 in b.closed)
    assert not b.closed_wedged
    assert b.rebuilt == 1


# The processor


def test_given_a_guild_that_burns_its_budget_when_it_is_empty_then_events_wait_and_the_author_is_told_once(bench):
    b = bench(dispatch_timeout_s=10, cpu_share_percent=10, cpu_burst_ms=100)
    b.deploy("on('messageCreate', () => { let n = 0; for (let i = 0; i < 3e7; i++) n += i % 7; if (!n) throw n })")

    b.send(1, *["x"] * 20)
    b.until(lambda: b.asked_usage()["state"] == "throttled")
    told = [line for line in b.logs if line.startswith("processor budget used up")]
    ran = len(b.done)
    b.until(lambda: b.wake_in_s)
    b.until(lambda: len(b.done) > ran)

    assert len(told) == 1
    assert "10 % of a core" in told[0]
    assert ran < 20
    assert b.order == sorted(b.order), "what was taken back from V8 runs later, in order"
    assert b.usage["throttled"] == b.counted["guild_throttled"] == 1
    assert b.usage["cpu_balance_us"] <= 100_000
    assert b.counted["guild_cpu_us"] > 100_000
    assert set(b.done.values()) == {Outcome.OK}


def test_given_a_throttled_guild_when_answers_come_then_they_go_in_and_waiting_does_not_count(bench):
    b = bench(cpu_share_percent=10, cpu_burst_ms=100)
    b.answer_calls = False
    b.deploy("on('messageCreate', async (c) => { await c.reply('x'); console.log('answered') })")
    b.send(1, "x")
    b.until(lambda: b.calls)

    session = b.sessions[1]
    session._meters._spend(200_000, time.monotonic())
    session.check(time.monotonic() + 5)
    session.answered([(b.calls[0][0], True, "{}")])
    b.until_done(1)

    assert b.done == {1: Outcome.OK}
    assert "answered" in b.logs


# Operations, timers, log lines


@pytest.mark.parametrize("where", ["prelude", "host"])
def test_given_too_many_operations_at_once_when_asked_then_the_script_gets_an_error_that_names_the_limit(bench, where):
    b = bench(max_pending_ops=5, ops_per_second=0)
    if where == "host":  # a script that got around the prelude's own count
        b.host._boot_facts = lambda guild_id: {"guildId": guild_id}
    b.answer_calls = False
    b.deploy(
        "on('messageCreate', async (c) => { for (let i = 0; i < 8; i++)"
        " rest.sendMessage({ channelId: '9', content: 'm' + i }).catch((e) => console.log(e.code, e.limit, e.message)) })"
    )

    b.send(1, "x")
    b.until(lambda: b.counted["ops_refused"] == 3)
    b.until(lambda: len(b.logs) == 3)

    assert b.logs[0].startswith(
        "LIMIT_REACHED max_pending_ops 5 operations of this guild wait for their answer already"
    )
    assert len(b.calls) == 5
    assert b.asked_usage()["ops_refused"] == 3


def test_given_a_flood_of_operations_when_the_rate_is_passed_then_the_rest_fails_and_is_counted(bench):
    b = bench(ops_per_second=3)
    b.deploy(
        "on('messageCreate', async (c) => { for (let i = 0; i < 8; i++)"
        " await rest.sendMessage({ channelId: '9', content: 'm' + i }).catch((e) => console.log(e.code, e.limit)) })"
    )

    b.send(1, "x")
    b.until_done(1)

    assert len(b.calls) == 6
    assert b.logs == ["LIMIT_REACHED ops_per_second"] * 2
    assert b.counted["ops_refused"] == 2


def test_given_too_many_timers_when_one_more_is_set_then_it_throws_and_the_others_fire(bench):
    b = bench(max_timers=4)
    b.deploy(
        "on('messageCreate', async () => { let fired = 0; try { for (;;) setTimeout(() => fired++, 1) }"
        " catch (e) { console.log(e.code, e.limit, e.message) }"
        " await Promise.resolve(); globalThis.fired = () => fired });"
        "on('other', () => console.log(fired()))"
    )

    b.send(1, "x")
    b.until_done(1)
    assert b.asked_usage()["timers"] == 4
    b.until(lambda: b.asked_usage()["timers"] == 0)
    b.send(2, "x", name="other")
    b.until_done(2)

    assert b.logs == ["LIMIT_REACHED max_timers 4 timers of this guild are pending already (limit 4)", "4"]
    assert b.counted["timers_refused"] == 1


def test_given_a_flood_of_log_lines_when_the_rate_is_passed_then_the_author_is_told_how_many_are_missing(bench):
    b = bench(log_lines_per_second=4)
    b.deploy("on('messageCreate', (c) => { for (let i = 0; i < 50; i++) console.log(c.msg.content + i) })")

    b.send(1, "a", "b")
    b.until_done(1, 2)
    shown = list(b.logs)
    b.until(lambda: log_of(b, "more than 4 per second"))

    assert [line for line in shown if line[:1] == "a"][:20] == [f"a{number}" for number in range(20)]
    assert len(shown) <= 22, "burst, and what the prelude says of its own"
    assert b.counted["log_lines_dropped"] == b.asked_usage()["log_lines_dropped"] > 0


def test_given_a_line_of_a_megabyte_when_printed_then_it_is_cut(bench):
    b = bench()
    b.deploy("on('messageCreate', () => console.log('x'.repeat(1 << 20)))")

    b.send(1, "x")
    b.until_done(1)

    assert len(b.logs[0]) < 9000
    assert b.logs[0].endswith("more characters)")


def test_given_a_guild_when_asked_what_it_uses_then_everything_is_there(bench):
    b = bench()
    b.deploy("on('messageCreate', async (c) => { await c.reply('x') })")
    b.send(1, "x")
    b.until_done(1)

    usage = b.asked_usage()

    assert usage["state"] == "serving"
    assert usage["events_done"] == 1
    assert usage["heap_bytes"] > 100_000
    assert usage["cpu_us"] >= 0
    assert {"cpu_us_last_minute", "cpu_balance_us", "throttled", "timers", "pending_ops", "resting_s"} <= usage.keys()
    assert orjson.dumps(usage)
