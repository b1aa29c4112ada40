from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flora.actors.peer_calls import PeerCalls
from flora.messages.base import Address, Message, Request
from flora.messages.deployment import UnloadGuild
from flora.messages.errors import LoadFailed, TimedOut, Unavailable
from flora.messages.ids import GuildId, ReqId

ASK = UnloadGuild(req_id=ReqId(""), guild_id=GuildId("1"))


class FakeBridge:
    """Answers when told to."""

    def __init__(self) -> None:
        self.asked: list[Address] = []
        self.answers: asyncio.Queue[Any] = asyncio.Queue()
        self.told: list[tuple[Address, Message]] = []

    async def ask(self, to: Address, request: Request, limit_s: float = 30) -> Any:
        self.asked.append(to)
        answer = await self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def tell(self, to: Address, message: Message) -> None:
        self.told.append((to, message))


@pytest.fixture
def bridge() -> FakeBridge:
    return FakeBridge()


async def test_given_a_peer_when_asked_then_its_answer_or_error_comes_back(bridge: FakeBridge) -> None:
    calls = PeerCalls(bridge, "router")
    calls.moved("r1")
    await bridge.answers.put({"worker": 0})
    await bridge.answers.put(LoadFailed("no"))

    assert await calls.ask(ASK, 1) == {"worker": 0}
    with pytest.raises(LoadFailed):
        await calls.ask(ASK, 1)


async def test_given_a_peer_that_is_being_restarted_then_the_question_waits_for_it(bridge: FakeBridge) -> None:
    calls = PeerCalls(bridge, "router")
    asking = asyncio.create_task(calls.ask(ASK, 1))
    await asyncio.sleep(0)
    assert bridge.asked == []
    await bridge.answers.put("ok")

    calls.moved("r2")

    assert await asking == "ok"
    assert bridge.asked == ["r2"]


async def test_given_no_peer_for_too_long_then_nothing_was_sent(bridge: FakeBridge) -> None:
    calls = PeerCalls(bridge, "router", presence_limit_s=0.01)

    with pytest.raises(Unavailable) as caught:
        await calls.ask(ASK, 1)

    assert type(caught.value) is Unavailable
    assert bridge.asked == []


@pytest.mark.parametrize("successor", ["r2", None])
async def test_given_a_peer_that_dies_before_it_answers_then_the_outcome_is_unknown(
    bridge: FakeBridge, successor: str | None, eventually: Any
) -> None:
    calls = PeerCalls(bridge, "router")
    calls.moved("r1")
    asking = asyncio.create_task(calls.ask(ASK, 1000))
    await eventually.soon(lambda: bridge.asked)

    calls.moved(successor)

    with pytest.raises(TimedOut, match="restarted before it answered"):
        await asking


async def test_given_an_asker_that_is_cancelled_then_it_ends_as_cancelled(bridge: FakeBridge, eventually: Any) -> None:
    calls = PeerCalls(bridge, "router")
    calls.moved("r1")
    asking = asyncio.create_task(calls.ask(ASK, 1000))
    await eventually.soon(lambda: bridge.asked)

    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking


def test_given_a_peer_that_is_away_when_told_something_then_nothing_is_sent(bridge: FakeBridge) -> None:
    calls = PeerCalls(bridge, "router")

    calls.tell(Message())
    calls.moved("r1")
    calls.tell(Message())

    assert bridge.told == [("r1", Message())]
