"""One isolate's life with the real engine, prelude and SDK: load, run, end, rebuild."""

from __future__ import annotations

import time
from pathlib import Path

import orjson
import pytest

from flora.actors.fetch.request import FetchResponse
from flora.actors.isolate.host import uses_fetch
from flora.actors.isolate.progress import last_started, read_recorder
from flora.actors.isolate.session import IsolateSession
from flora.messages.dispatch import Outcome

pytestmark = pytest.mark.service

LIMIT_S = 0.3  # dispatch limit of the bench
GUESTS = Path(__file__).parents[2] / "guests"

ENDLESS = "for (;;) await new Promise((r) => setTimeout(r, 5))"
ECHO = "on('messageCreate', async (ctx) => { console.log(ctx.msg.content); await ctx.reply(ctx.msg.content) })"


def test_given_the_seed_page_example_when_a_message_comes_then_it_replies(bench):
    b = bench()
    assert b.deploy("on('messageCreate', async (msg) => { await msg.reply('Hello!') })").error is None

    b.send(1, "hi")
    b.until_done(1)

    assert b.done == {1: Outcome.OK}
    _, method, route, scope, body, *_ = b.calls[0]
    assert (method, route, scope) == ("POST", "/channels/9/messages", (("channel", "9"),))
    assert orjson.loads(body) == {"content": "Hello!", "message_reference": {"message_id": "1"}}
    assert b.handlers == ("messageCreate",)


@pytest.mark.scenario("T25")
def test_given_a_thousand_numbered_events_when_dispatched_then_the_script_sees_them_in_order(bench):
    b = bench()
    b.deploy(
        "let n = 0; on('messageCreate', (c) => { if (Number(c.msg.content) !== n++) throw new Error('out of order') })"
    )

    for start in range(0, 1000, 50):
        b.send(start + 1, *(str(number) for number in range(start, start + 50)))
    b.until_done(*range(1, 1001))

    assert set(b.done.values()) == {Outcome.OK}


@pytest.mark.scenario("T68")
def test_given_several_arguments_when_printed_then_they_are_one_line_with_objects_as_json(bench):
    b = bench()
    b.deploy("console.log('a', {b: 1}, 2)")

    assert b.log_rows == [("info", "flora:js", 'a {"b":1} 2')]


@pytest.mark.scenario("T13")
def test_given_a_script_that_replaces_dispatch_when_events_come_then_they_reach_the_replacement(bench):
    b = bench()
    b.deploy("globalThis.__floraDispatch = async (event, payload) => { console.log(event + ' ' + payload.content) }")

    b.send(1, "mine")
    b.until_done(1)

    assert b.logs == ["messageCreate mine"]
    assert b.handlers == ("*",)


@pytest.mark.scenario("T13")
@pytest.mark.parametrize(
    ("junk", "error"), [("undefined", "Dispatch function missing"), ("42", "Dispatch symbol is not a function")]
)
def test_given_a_script_that_breaks_dispatch_when_loaded_then_the_load_fails(bench, junk, error):
    assert bench().deploy(f"globalThis.__floraDispatch = {junk}").error == error


@pytest.mark.scenario("T37")
def test_given_two_handlers_when_the_first_throws_then_the_second_is_not_called(bench):
    b = bench()
    b.deploy(
        "on('messageCreate', () => { throw new Error('first') }); on('messageCreate', () => console.log('second'))"
    )

    b.send(1, "x")
    b.until_done(1)

    assert b.done == {1: Outcome.THREW}
    assert len(b.logs) == 1
    assert b.logs[0].startswith("dispatch failed: Error: first")
    assert "bundle.js:1:" in b.logs[0]


@pytest.mark.scenario("T38")
def test_given_no_handlers_when_an_event_comes_then_it_succeeds(bench):
    b = bench()
    b.deploy("")

    b.send(1, "x")
    b.until_done(1)

    assert b.done == {1: Outcome.OK}


@pytest.mark.scenario("T39")
def test_given_a_dispatch_that_returns_a_plain_value_when_an_event_comes_then_it_succeeds(bench):
    b = bench()
    b.deploy("globalThis.__floraDispatch = () => 5")

    b.send(1, "x")
    b.until_done(1)

    assert b.done[1] in (Outcome.OK, Outcome.NOT_A_PROMISE)


@pytest.mark.scenario("T40")
def test_given_a_promise_nobody_settles_when_awaited_then_the_event_fails_at_once(bench):
    b = bench(dispatch_timeout_s=30)
    b.deploy("on('messageCreate', () => new Promise(() => {}))")

    b.send(1, "x")
    b.until_done(1)

    assert b.done == {1: Outcome.NEVER_SETTLED}
    assert "still pending" in b.logs[0]


def test_given_half_a_surrogate_pair_when_printed_and_sent_then_nothing_breaks(bench):
    b = bench()
    b.deploy("on('messageCreate', async (c) => { console.log('\\ud800'); await c.reply('\\udc00!') })")

    b.send(1, "x")
    b.until_done(1)

    assert b.done == {1: Outcome.OK}
    assert b.logs == ["\ufffd"]
    assert b.bodies() == ["\ufffd!"]


def test_given_a_script_when_it_looks_at_this_then_it_is_undefined_as_in_a_module(bench):
    b = bench()
    b.deploy("const top = String(this); on('messageCreate', () => console.log(top))")

    b.send(1, "x")
    b.until_done(1)

    assert b.logs == ["undefined"]


@pytest.mark.scenario("T29")
def test_given_a_handler_that_waits_too_long_when_it_times_out_then_it_never_replies(bench):
    b = bench()
    b.deploy(
        "on('messageCreate', async (c) => {"
        " if (c.msg.content === 'slow') await new Promise((r) => setTimeout(r, 600)); await c.reply(c.msg.content) })"
    )

    b.send(1, "slow")
    b.until_done(1)
    b.send(2, "quick")
    b.until_done(2)
    later = time.monotonic() + 0.7
    b.until(lambda: time.monotonic() > later)

    assert b.done == {1: Outcome.TIMED_OUT, 2: Outcome.OK}
    assert b.bodies() == ["quick"]
    assert b.rebuilt == 1


@pytest.mark.scenario("T30")
@pytest.mark.scenario("T32")
@pytest.mark.parametrize(
    ("loop", "rebuilds"),
    [("while (true) {}", 0), ("for (;;) try { for (;;); } finally { continue }", 0), ("while (true) await 0", 1)],
)
def test_given_a_loop_when_the_limit_passes_then_it_ends_and_the_events_behind_it_run(bench, loop, rebuilds):
    b = bench()
    b.deploy(
        f"on('messageCreate', async (c) => {{ if (c.msg.content === 'loop') {loop}; await c.reply(c.msg.content) }})"
    )
    began = time.monotonic()

    b.send(1, "before", "loop", "after", "last")
    b.until_done(1, 2, 3, 4)

    assert b.done[2] == Outcome.TIMED_OUT
    assert (b.done[3], b.done[4]) == (Outcome.OK, Outcome.OK)
    assert time.monotonic() - began < LIMIT_S + 1.0
    assert b.rebuilt == rebuilds
    assert b.bodies().count("loop") == 0


@pytest.mark.scenario("T30")
def test_given_a_loop_with_nothing_behind_it_when_it_is_ended_then_it_timed_out_and_the_isolate_stays(bench):
    b = bench()
    b.deploy(
        "let n = 0; on('messageCreate', async (c) => { n++; if (c.msg.content === 'loop') while (true) {}; console.log(n) })"
    )

    b.send(1, "loop")
    b.until_done(1)
    b.send(2, "again")
    b.until_done(2)

    assert b.done == {1: Outcome.TIMED_OUT, 2: Outcome.OK}
    assert b.logs == [f"dispatch failed: dispatch timed out (limit {LIMIT_S:g} s)", "2"]
    assert b.rebuilt == 0


@pytest.mark.scenario("T58")
def test_given_a_cron_job_that_never_yields_when_it_is_due_then_it_is_ended_and_the_script_goes_on(bench):
    b = bench(cron_timeout_s=LIMIT_S)
    b.deploy((GUESTS / "spins_in_cron.js").read_text())

    b.send(1, "", name="__cron:spin")
    b.send(2, "hello")
    b.until_done(1, 2)

    assert b.done == {1: Outcome.TIMED_OUT, 2: Outcome.OK}
    assert sorted(b.logs) == [f"cron failed: cron timed out (limit {LIMIT_S:g} s)", "fine"]


def test_given_an_event_that_spins_after_waiting_when_a_later_one_has_started_then_the_spinning_one_is_blamed(bench):
    b = bench(dispatch_timeout_s=1)
    b.answer_calls = False
    b.deploy(
        "on('messageCreate', async (c) => { await c.reply(c.msg.content);"
        " if (c.msg.content === 'first') new Array(1).fill(0).forEach(() => { while (true) {} }) })"
    )

    b.send(1, "first", "second")
    b.until(lambda: len(b.calls) == 2)
    b.sessions[1].answered([(b.calls[0][0], True, "{}")])
    b.until_done(1)

    assert b.done[1] == Outcome.TIMED_OUT


@pytest.mark.scenario("T29")
def test_given_a_call_under_way_when_its_event_is_ended_then_the_worker_hears_that_nobody_waits_for_it(bench):
    b = bench()
    b.answer_calls = False
    b.deploy("on('messageCreate', async (c) => { setTimeout(() => { while (true) {} }, 5); await c.reply('x') })")

    b.send(1, "x")
    b.until(lambda: b.cancelled)

    assert b.done == {1: Outcome.TIMED_OUT}
    assert b.cancelled == [b.calls[0][0]]


@pytest.mark.scenario("T34")
def test_given_a_rebuilt_isolate_when_its_worker_dies_then_the_recorder_still_knows_what_had_started(bench):
    b = bench()
    b.deploy("on('messageCreate', async () => { while (true) await 0 })")

    b.send(7, "loop")
    b.until(lambda: b.rebuilt == 1)
    assert last_started(read_recorder(b.host.recorder_path)) == {"55": 7}
    b.until(lambda: b.handlers and not b.sessions[1]._busy)

    assert last_started(read_recorder(b.host.recorder_path)) == {"55": 7}


@pytest.mark.scenario("T26")
def test_given_a_spinning_guild_when_another_gets_an_event_then_it_answers_meanwhile(bench):
    b = bench(dispatch_timeout_s=5)
    b.deploy("on('messageCreate', () => { while (true) {} })", key=1, guild_id="1")
    b.deploy(ECHO, key=2, guild_id="2")

    b.send(1, "spin", key=1)
    b.send(2, "hi", key=2)
    b.until_done(2)

    assert 1 not in b.done


@pytest.mark.scenario("T31")
def test_given_a_loop_at_top_level_when_loaded_then_it_fails_within_the_limit(bench):
    b = bench(load_timeout_s=LIMIT_S)
    began = time.monotonic()

    failed = b.deploy("while (true) {}")

    assert (failed.code, failed.error) == ("LOAD_TIMED_OUT", "module_load timed out")
    assert time.monotonic() - began < LIMIT_S + 1.0


@pytest.mark.scenario("T17")
def test_given_endless_work_at_top_level_when_loaded_then_it_times_out(bench):
    assert bench(load_timeout_s=LIMIT_S).deploy(ENDLESS).error == "module_load timed out"


def test_given_an_interval_at_top_level_when_loaded_then_the_bot_serves(bench):
    assert bench(load_timeout_s=LIMIT_S).deploy("setInterval(() => {}, 5)").error is None


@pytest.mark.scenario("T33")
def test_given_a_heap_bomb_when_it_goes_off_then_only_that_isolate_dies_and_recovers(bench):
    b = bench(max_heap_mb=32, dispatch_timeout_s=10)
    b.deploy(
        "on('messageCreate', (c) => { const a = []; while (c.msg.content === 'bomb') a.push({ x: [1, 2, 3] }) })", key=1
    )
    b.deploy(ECHO, key=2, guild_id="2")

    b.send(1, "bomb", "quiet", key=1)
    b.send(3, "hi", key=2)
    b.until_done(1, 2, 3)

    assert b.done == {1: Outcome.OUT_OF_MEMORY, 2: Outcome.OK, 3: Outcome.OK}
    assert any("out of memory" in line for line in b.logs)


def test_given_a_load_that_throws_when_deployed_then_the_error_names_the_place(bench):
    failed = bench().deploy("const a = 1;\nthrow new Error('no good')")

    assert failed.code == "LOAD_FAILED"
    assert failed.error.startswith("Error: no good")
    assert "bundle.js:2:" in failed.error


def test_given_a_syntax_error_when_deployed_then_the_load_fails(bench):
    failed = bench().deploy("const = 5")

    assert failed.code == "LOAD_FAILED"
    assert "SyntaxError" in failed.error


def test_given_waiting_events_when_rebuilt_then_pending_calls_are_cancelled(bench):
    b = bench()
    b.answer_calls = False
    b.deploy(ECHO)

    b.send(1, "hi")
    b.until_done(1)

    assert b.done == {1: Outcome.TIMED_OUT}
    assert b.cancelled == [b.calls[0][0]]


def test_given_an_event_that_waits_for_discord_when_another_comes_then_it_starts(bench):
    b = bench(dispatch_timeout_s=5)
    b.answer_calls = False
    b.deploy(ECHO)

    b.send(1, "one", "two")
    b.until(lambda: len(b.calls) == 2)

    assert b.bodies() == ["one", "two"]


def test_given_no_overlap_when_an_event_waits_then_the_next_does_not_start(bench):
    b = bench(dispatch_timeout_s=5, guild_overlap=1)
    b.answer_calls = False
    b.deploy(ECHO)

    b.send(1, "one", "two")
    b.until(lambda: b.calls)
    b.until(lambda: not b.sessions[1]._isolate.busy)
    assert b.bodies() == ["one"]

    b.sessions[1].answered([(b.calls[0][0], True, "{}")])
    b.until(lambda: len(b.calls) == 2)


def test_given_a_failed_call_when_it_is_answered_then_the_script_gets_its_code(bench):
    b = bench()
    b.answer_calls = False
    b.deploy(
        "on('messageCreate', async (c) => { try { await c.reply('x') } catch (e) { console.log(e.code, e.message) } })"
    )

    b.send(1, "x")
    b.until(lambda: b.calls)
    b.sessions[1].answered(
        [(b.calls[0][0], False, '{"code":"DISCORD_HTTP_ERROR","message":"403 no","discord_code":50013}')]
    )
    b.until_done(1)

    assert b.logs == ["DISCORD_HTTP_ERROR 403 no"]


@pytest.mark.scenario("T40b")
def test_given_ready_when_broadcast_to_the_default_runtime_then_it_is_taken(bench):
    b = bench()
    assert b.deploy(None, guild_id="").error is None

    b.send(7, "", name="ready")
    b.until_done(7)

    assert b.done == {7: Outcome.OK}


def test_given_running_events_when_closed_with_a_limit_then_they_finish_first(bench):
    b = bench(dispatch_timeout_s=5)
    b.deploy(
        "on('messageCreate', async (c) => { await new Promise((r) => setTimeout(r, 50)); console.log('finished') })"
    )
    b.send(1, "x")

    b.sessions[1].close(2.0)
    b.until(lambda: 1 in b.closed)

    assert b.logs == ["finished"]
    assert b.done == {1: Outcome.OK}


def test_given_typed_arrays_that_are_dropped_when_events_go_on_then_the_garbage_is_collected_in_between(bench):
    b = bench(max_buffer_mb=32, dispatch_timeout_s=10)
    b.deploy((GUESTS / "wastes_typed_arrays.js").read_text())

    for seq in range(1, 41):  # 20 MB each, 800 in all
        b.send(seq, "x")
        b.until_done(seq)

    assert set(b.done.values()) == {Outcome.OK}
    assert b.rebuilt == 0
    b.until(lambda: b.sessions[1].buffer_bytes < 24 << 20)


def test_given_a_script_that_fetches_when_it_is_answered_then_it_goes_on_with_the_answer(bench):
    b = bench()
    b.deploy(
        "on('messageCreate', async (c) => { const r = await fetch('https://a.example/x?' + c.msg.content, { method: 'POST',"
        " headers: { 'X-A': '1' }, body: 'é' }); console.log(r.status, await r.json()) })"
    )

    b.send(1, "q")
    b.until(lambda: b.fetches)
    op_id, request = b.fetches[0]
    answer = {"url": "", "status": 201, "statusText": "", "headers": [], "redirected": False, "text": '{"a":1}'}
    b.sessions[1].answered([(op_id, True, orjson.dumps(answer).decode())], fetched=True)
    b.until_done(1)

    assert (request.method, request.url, request.body) == ("POST", "https://a.example/x?q", "é".encode())
    assert dict(request.headers) == {"content-type": "text/plain;charset=UTF-8", "x-a": "1"}
    assert b.logs == ['201 {"a":1}']
    assert b.fetches_taken == 1


@pytest.mark.parametrize(
    ("kind", "read"),
    [
        *(("text", "(await r.text()).length"), ("text", "(await r.bytes()).length")),
        *(("base64", "(await r.bytes()).length"), ("control", "(await r.text()).length")),
    ],
)
def test_given_the_largest_bodies_when_fetched_again_and_again_then_the_isolate_reads_them_whole(bench, kind, read):
    b = bench(dispatch_timeout_s=20)
    b.deploy(f"on('messageCreate', async () => {{ const r = await fetch('https://a.example'); console.log({read}) }})")
    size = b.host.settings.fetch.max_response_bytes
    body = {"text": b"a", "base64": b"\xff", "control": b"\x01"}[kind] * size
    answer = FetchResponse("https://a.example/", 200, "OK", (), body).encoded()

    for seq in range(1, 4):
        b.send(seq, "x")
        b.until(lambda seq=seq: len(b.fetches) == seq)
        b.sessions[1].answered([(b.fetches[-1][0], True, answer)], fetched=True)
        b.until_done(seq)

    assert set(b.done.values()) == {Outcome.OK}
    assert b.logs == [str(size)] * 3


@pytest.mark.parametrize("ends", ["while (true) {}", "await new Promise((r) => setTimeout(r, 60_000))"])
def test_given_answers_of_fetches_when_the_isolate_does_not_come_to_them_then_each_counts_as_taken_once(bench, ends):
    b = bench()
    b.deploy(
        f"on('messageCreate', async () => {{ fetch('https://a.example'); fetch('https://a.example'); await 0; {ends} }})"
    )
    answer = '{"url":"","status":200,"statusText":"","headers":[],"redirected":false,"text":""}'

    b.send(1, "x")
    b.until(lambda: len(b.fetches) == 2 or b.rebuilt)
    b.sessions[1].answered([(op_id, True, answer) for op_id, _ in b.fetches], fetched=True)
    b.until_done(1)
    b.sessions[1].answered([(99, True, answer)], fetched=True)
    b.until(lambda: b.fetches_taken == len(b.fetches) + 1)

    assert b.done == {1: Outcome.TIMED_OUT}


def test_given_a_request_the_host_does_not_take_when_fetched_then_the_script_is_told_and_nothing_leaves(bench):
    b = bench()
    b.deploy(
        "on('messageCreate', (c) => fetch('https://a.example', { method: 'POST', body: 'x'.repeat(2 << 20) })"
        ".catch((e) => console.log(e instanceof TypeError, e.code, e.message)))"
    )

    b.send(1, "x")
    b.until_done(1)

    assert b.logs[0].startswith("true FETCH_TOO_LARGE fetch failed: the body has 2097152 bytes")
    assert b.fetches == []


@pytest.mark.scenario("T29")
@pytest.mark.parametrize(
    "handler",
    [
        "await fetch('https://a.example')",
        "setTimeout(() => { while (true) {} }, 5); await fetch('https://a.example')",
        "await fetch('https://a.example', { signal: AbortSignal.timeout(50) }).catch(() => {})",
    ],
    ids=["waits", "spins", "aborts"],
)
def test_given_a_fetch_that_nobody_waits_for_any_more_then_the_worker_hears_of_it(bench, handler):
    b = bench()
    b.deploy(f"on('messageCreate', async () => {{ {handler} }})")

    b.send(1, "x")
    b.until(lambda: b.cancelled)
    b.until_done(1)

    assert b.cancelled == [b.fetches[0][0]]
    assert b.done == {1: Outcome.OK if "signal" in handler else Outcome.TIMED_OUT}


def test_given_a_script_that_names_nothing_of_fetch_when_loaded_then_its_isolate_does_without(bench):
    b = bench()
    b.deploy("on('messageCreate', () => console.log(typeof globalThis['fet' + 'ch'], typeof URL))")

    b.send(1, "x")
    b.until_done(1)

    assert b.logs == ["undefined function"]


@pytest.mark.parametrize(
    ("script", "uses"),
    [
        *(("fetch('x')", True), ("globalThis.Headers", True), ("x['Blob']", True), ("new File()", True)),
        *(("rest.fetchMessage()", False), ("myFile, Files, $Filed", False), ("", False), (None, False)),
    ],
)
def test_given_a_script_when_looked_at_then_whole_names_count(script, uses):
    assert uses_fetch(script) is uses


@pytest.mark.scenario("T33")
def test_given_a_worker_short_of_memory_when_a_guilty_isolate_is_ended_then_it_is_rebuilt_and_the_author_told(bench):
    b = bench(dispatch_timeout_s=30)
    b.deploy(
        "on('messageCreate', async (c) => { if (c.msg.content === 'hang') await new Promise(() => setTimeout(() => {}, 1e6)) })"
    )
    b.send(1, "hang")
    b.until(lambda: any(use.round_trips > 2 and use.busy_since_s is None for use in b.host.memory_uses()))

    b.sessions[1].end_for_memory("out of memory: the limit is 512 MB")
    b.send(2, "x")
    b.until_done(1, 2)

    assert b.done == {1: Outcome.OUT_OF_MEMORY, 2: Outcome.OK}
    assert b.rebuilt == 1
    assert any("out of memory: the limit is 512 MB" in line for line in b.logs)


def test_given_a_script_that_loads_when_the_worker_is_short_of_memory_then_the_load_fails_with_that(bench):
    b = bench(load_timeout_s=5)
    session = b.sessions[1] = IsolateSession(1, "55", b.host)
    session.load(ENDLESS, None, {})
    b.until(lambda: any(use.round_trips > 1 for use in b.host.memory_uses()))

    session.end_for_memory("out of memory: the limit is 512 MB")
    b.until(lambda: 1 in b.loaded)

    assert b.loaded[1].code == "OUT_OF_MEMORY"
    assert "512 MB" in b.loaded[1].error


def test_given_an_argument_nested_beyond_reading_when_asked_for_then_that_guild_is_told_and_goes_on(bench):
    b = bench(dispatch_timeout_s=10)
    b.deploy((GUESTS / "nests_its_arguments.js").read_text())

    b.send(1, "go")
    b.until_done(1)
    b.send(2, "x")
    b.until_done(2)

    assert b.done == {1: Outcome.DIED, 2: Outcome.OK}
    assert any("nested too deeply" in line for line in b.logs)


@pytest.mark.parametrize("guest", ["fills_a_giant_array", "splits_a_giant_text"])
def test_given_what_would_abort_v8_when_a_script_asks_for_it_then_it_is_an_error_of_that_event(bench, guest):
    b = bench(dispatch_timeout_s=10)
    b.deploy((GUESTS / f"{guest}.js").read_text())

    b.send(1, "go", "x")
    b.until_done(1, 2)

    assert b.done == {1: Outcome.THREW, 2: Outcome.OK}
    assert any("cannot fit into the heap limit of 64 MB" in line for line in b.logs)
    assert b.rebuilt == 0


def test_given_a_handler_that_waits_for_discord_when_it_reports_then_no_limit_is_looked_at_before_one_can_be_broken(
    bench,
):
    b = bench(dispatch_timeout_s=0.7)
    b.answer_calls = False
    assert b.deploy(ECHO).error is None
    before_s = time.monotonic()

    b.send(1, "hello")
    b.until(lambda: b.calls)

    assert before_s < b.quiet_until_s <= time.monotonic() + 0.7
    b.until_done(1)
    assert b.done[1] == Outcome.TIMED_OUT
    assert b.quiet_until_s == 0.0, "its isolate is being made anew"
