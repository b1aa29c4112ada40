"""The engine's own contract, against the stand-in prelude."""

from __future__ import annotations

import select
from pathlib import Path
from typing import Any

import orjson
import pytest

from flora.actors.isolate.engine import Closed, Fault, FaultKind, Opened, State
from flora.actors.isolate.v8 import MAX_TEXT_BYTES
from flora.messages.errors import BugError

ECHO = "on('messageCreate', async ({ msg }) => { console.log(msg.content) })"


def test_given_a_loaded_script_when_an_event_comes_then_its_output_comes_back(any_port_host: Any) -> None:
    talk = any_port_host.open()
    loaded = talk.load(ECHO)
    assert loaded["h"] == ["messageCreate"]

    talk.send("hello")

    assert talk.answer() == {"d": [[1, "ok", None, 0]], "l": [["info", "hello"]]}
    assert talk.isolate.idle


def test_given_events_in_one_batch_when_dispatched_then_they_start_in_their_order(any_port_host: Any) -> None:
    talk = any_port_host.open()
    talk.load(ECHO)

    talk.send(*(str(number) for number in range(100)))

    assert [line[1] for line in talk.answer()["l"]] == [str(number) for number in range(100)]


@pytest.mark.parametrize("text", ["", "\0 in the middle", "ünïcödé 😀", "\ud800".encode("utf-8", "replace").decode()])
def test_given_any_text_when_it_crosses_twice_then_it_is_the_same(engine_host: Any, text: str) -> None:
    talk = engine_host.open()
    talk.load(ECHO)

    talk.send(text)

    assert talk.answer()["l"] == [["info", text]]


def test_given_a_handler_that_throws_when_dispatched_then_the_stack_names_the_authors_line(engine_host: Any) -> None:
    talk = engine_host.open()
    talk.load("on('messageCreate', async () => {\n  throw new Error('boo')\n})")

    talk.send("x")

    (seq, outcome, text, _), *_ = talk.answer()["d"]
    assert (seq, outcome) == (1, "threw")
    assert "file:///guild/1/bundle.js:3:" in text  # the script's line 2: one line stands before the script


def test_given_many_isolates_when_all_have_work_then_each_gets_its_own_answer(any_port_host: Any) -> None:
    talks = [any_port_host.open(str(number)) for number in range(10)]
    for talk in talks:
        talk.load(ECHO)

    for number, talk in enumerate(talks):
        talk.send(f"to {number}")

    assert [talk.answer()["l"][0][1] for talk in talks] == [f"to {number}" for number in range(10)]


def test_given_many_round_trips_when_counted_then_no_value_handle_is_left_behind(any_port_host: Any) -> None:
    talk = any_port_host.open()
    talk.load(ECHO)
    talk.send("x")
    talk.answer()
    before = talk.isolate.value_count()

    for _ in range(200):
        talk.send("x", "y")
        talk.answer()
    talk.isolate.load("let x = ;", "file:///a.js")
    talk.fault()
    talk.isolate.load("log(", "file:///a.js")
    talk.fault()

    assert talk.isolate.value_count() == before


def test_given_a_round_trip_under_way_when_another_is_asked_for_then_it_is_refused(engine_host: Any) -> None:
    talk = engine_host.open()
    talk.isolate.take()

    with pytest.raises(BugError, match="busy"):
        talk.isolate.dispatch(b"{}")
    with pytest.raises(BugError, match="busy"):
        talk.isolate.heap_stats()

    assert talk.answer() == {}
    assert talk.isolate.heap_stats()["used_heap_size"] > 0


def test_given_output_when_heard_then_the_next_round_trip_may_start_at_once(engine_host: Any) -> None:
    talk = engine_host.open()
    rounds = []

    def again(isolate: Any, output: Any) -> None:
        rounds.append(output)
        if len(rounds) < 5:
            isolate.take()

    engine_host.engine.on_output = again
    talk.isolate.take()
    while len(rounds) < 5:
        assert engine_host.engine.collect(5.0)

    assert rounds == [b"{}"] * 5


def test_given_something_to_collect_when_the_descriptor_is_polled_then_it_is_readable(any_port_host: Any) -> None:
    talk = any_port_host.open()
    descriptor = any_port_host.engine.fileno()
    assert select.select([descriptor], [], [], 0)[0] == []

    talk.isolate.take()

    assert select.select([descriptor], [], [], 5.0)[0] == [descriptor]
    assert talk.answer() == {}
    assert select.select([descriptor], [], [], 0)[0] == []


def test_given_nothing_to_collect_when_collecting_then_it_says_so(any_port_host: Any) -> None:
    assert any_port_host.engine.collect() == 0


def test_given_a_syntax_error_when_loaded_then_the_authors_line_and_column_are_told(engine_host: Any) -> None:
    talk = engine_host.open()

    talk.isolate.load("const a = 1\nconst b = = 2", "file:///guild/1/bundle.js")

    fault = talk.hear()
    assert fault == Fault(FaultKind.SCRIPT_ERROR, "SyntaxError: Unexpected token '='", line=2, column=11)
    assert talk.isolate.idle


def test_given_a_script_that_closes_the_wrapper_when_loaded_then_it_is_refused(engine_host: Any) -> None:
    talk = engine_host.open()

    talk.isolate.load("}); ({})\n/*", "file:///a.js")
    assert talk.fault().kind is FaultKind.SCRIPT_ERROR

    talk.isolate.load("}); 5; (async () => {", "file:///a.js")
    assert talk.hear() is not None
    assert talk.isolate.idle


@pytest.mark.parametrize("statement", ["eval('1')", "new Function('return 1')()", "(async () => {}).constructor('1')"])
def test_given_text_as_code_when_a_guest_tries_it_then_v8_refuses(engine_host: Any, statement: str) -> None:
    talk = engine_host.open()

    talk.isolate.load(statement, "file:///a.js")

    outcome = talk.answer()["d"][0]
    assert outcome[1] == "threw"
    assert "Code generation from strings disallowed" in outcome[2]


def test_given_input_that_is_not_json_when_dispatched_then_it_is_a_protocol_error(engine_host: Any) -> None:
    talk = engine_host.open()

    talk.isolate.dispatch(b"not json")

    fault = talk.fault()
    assert fault.kind is FaultKind.PROTOCOL_ERROR
    assert "SyntaxError" in fault.text
    talk.isolate.take()
    assert talk.answer() == {}


def test_given_a_text_too_long_for_v8_when_dispatched_then_it_is_refused_before_v8_sees_it(engine_host: Any) -> None:
    talk = engine_host.open()

    class Long(bytes):
        def __len__(self) -> int:
            return MAX_TEXT_BYTES + 1

    with pytest.raises(ValueError, match="too long"):
        talk.isolate.dispatch(Long())

    talk.isolate.take()
    assert talk.answer() == {}


def test_given_a_prelude_that_throws_when_opened_then_the_fault_tells_why(engine_host: Any) -> None:
    talk = engine_host.begin(prelude="throw new Error('no prelude')")

    fault = talk.hear()

    assert isinstance(fault, Fault)
    assert fault.kind is FaultKind.BOOT_FAILED
    assert "no prelude" in fault.text
    assert talk.isolate.state is State.CLOSED


def test_given_an_sdk_that_hangs_when_opened_then_it_times_out_and_the_next_one_opens(engine_host: Any) -> None:
    hanging = engine_host.begin(sdk="while (true) {}", boot_limit_s=0.2)
    fine = engine_host.begin()

    assert hanging.fault().kind is FaultKind.BOOT_TIMED_OUT
    assert isinstance(fine.hear(), Opened)


def test_given_boot_facts_when_opened_then_the_prelude_gets_them_with_the_recorders_offset(engine_host: Any) -> None:
    prelude = """({ boot(json) { this.json = json }, dispatch() {}, load() {}, progress: new ArrayBuffer(8192),
                    take: () => globalThis.seen })"""
    seen = prelude.replace("this.json", "globalThis.seen")

    opened = engine_host.begin(prelude=seen, boot={"guildId": "7"}).hear()

    facts = orjson.loads(opened.output)
    assert facts["guildId"] == "7"
    assert 0 <= facts["progressOffset"] <= 4096


def test_given_an_open_isolate_when_closed_then_nothing_of_it_remains(any_port_host: Any) -> None:
    contexts = any_port_host.engine.v8.context_count()
    talk = any_port_host.open()

    assert any_port_host.close(talk) == Closed(wedged=False)

    assert any_port_host.engine.v8.context_count() == contexts
    assert talk.isolate.state is State.CLOSED
    with pytest.raises(BugError, match="closed"):
        talk.isolate.take()
    talk.isolate.close()  # a second close is harmless
    assert talk.hears_nothing(0.05)


def test_given_an_isolate_that_is_opening_when_closed_then_it_closes_as_soon_as_it_can(engine_host: Any) -> None:
    talk = engine_host.begin()
    talk.isolate.close()

    assert talk.hear() == Closed(wedged=False)
    assert not engine_host.engine.isolates


def test_given_a_busy_isolate_when_closed_then_its_answer_never_comes(engine_host: Any) -> None:
    talk = engine_host.open()
    talk.load("on('messageCreate', async () => { while (true) {} })")
    talk.send("go")

    talk.isolate.close()

    assert talk.hear() == Closed(wedged=False)
    assert talk.hears_nothing(0.05)


def test_given_many_isolates_opened_and_closed_when_counted_then_no_descriptor_is_left(engine_host: Any) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    engine_host.close(engine_host.open())
    before = descriptors()

    for _ in range(20):
        engine_host.close(engine_host.open())

    assert descriptors() <= before  # fewer: what earlier tests left to the garbage collector
