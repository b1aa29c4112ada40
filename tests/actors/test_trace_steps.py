"""Steps on an asyncio loop as hops, with what they ask in between."""

from __future__ import annotations

import asyncio

import pytest

from flora.actors.trace_steps import TraceSteps
from flora.messages.base import TraceContext
from flora.messages.errors import LoadFailed
from flora.messages.trace import current_trace, new_span_id, new_trace_id, working_on
from flora.storage.trace_record import TraceRecord


class Kept(list[TraceRecord]):
    def keep(self, record: TraceRecord) -> None:
        self.append(record)

    def flush(self) -> None:
        pass


@pytest.fixture
def kept() -> Kept:
    return Kept()


def traced(*, sampled: bool = True) -> TraceContext:
    return TraceContext(trace_id=new_trace_id(), span_id=new_span_id(), sampled=sampled)


async def test_given_steps_inside_each_other_then_the_inner_follows_from_the_outer(kept):
    steps, trace = TraceSteps(kept, "deployer"), traced()

    with working_on(trace), steps.step("deploy.load", "7", bytes=3):
        inside = current_trace.get()
        await asyncio.sleep(0)
        with steps.step("deploy.wait", "7"):
            pass

    inner, outer = kept
    assert inside is not None
    assert (inside.trace_id, inside.span_id) == (trace.trace_id, outer.span)
    assert (inner.parent, outer.parent) == (outer.span, trace.span_id)
    assert (outer.name, outer.kind, outer.process, outer.guild_id) == ("deploy.load", "deploy", "deployer", "7")
    assert outer.attrs == {"bytes": 3}
    assert current_trace.get() is None


async def test_given_a_step_that_fails_when_not_sampled_then_it_is_kept_with_its_code_and_first_line(kept):
    with (
        pytest.raises(LoadFailed),
        working_on(traced(sampled=False)),
        TraceSteps(kept).step("deploy.load", "7"),
    ):
        raise LoadFailed("main.ts:3: boom\n  at secret source")

    (hop,) = kept
    assert (hop.outcome, hop.why) == ("LOAD_FAILED", "main.ts:3: boom")


async def test_given_a_step_that_is_cancelled_then_its_hop_says_so(kept):
    async def work() -> None:
        with working_on(traced()), TraceSteps(kept).step("deploy.load", "7"):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})

    assert [hop.outcome for hop in kept] == ["cancelled"]


async def test_given_no_trace_or_no_success_worth_keeping_then_steps_leave_nothing(kept):
    with TraceSteps(kept).step("deploy.load", "7"):
        pass
    with working_on(traced(sampled=False)), TraceSteps(kept).step("deploy.load", "7"):
        pass
    with working_on(traced()), TraceSteps(None).step("deploy.load", "7"):
        pass

    assert kept == []
