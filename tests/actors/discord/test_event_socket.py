from __future__ import annotations

import asyncio
import itertools
import zlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.actors.discord.event_socket import EventSocket


class Feed:
    """An event socket fed with what a gateway would send, compressed as one stream."""

    def __init__(self) -> None:
        self.handled: list[Any] = []
        # Neither is touched by what arrives; only sending uses them.
        self.socket = EventSocket(None, loop=None)  # type: ignore[arg-type]
        self.socket._discord_parsers = {"MESSAGE_CREATE": self.handled.append, "RESUMED": lambda _: None}
        self.socket.shard_id = 0
        self._deflate = zlib.compressobj()

    def frame(self, event: str | None, seq: int | None, data: Any = None, op: int = 0) -> bytes:
        text = orjson.dumps({"t": event, "s": seq, "op": op, "d": data})
        return self._deflate.compress(text) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def receive(self, *frames: bytes) -> None:
        async def feed() -> None:
            for frame in frames:
                await self.socket.received_message(frame)

        asyncio.run(feed())


@given(cuts=st.lists(st.integers(1, 200), max_size=5, unique=True))
def test_given_a_message_in_any_pieces_when_received_then_it_is_handled_once(cuts: list[int]) -> None:
    feed = Feed()
    whole = feed.frame("MESSAGE_CREATE", 1, {"content": "x" * 100, "noise": list(range(60))})
    edges = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]

    feed.receive(*(whole[start:end] for start, end in itertools.pairwise(edges)))
    feed.receive(feed.frame("MESSAGE_CREATE", 2, {"content": "next"}))

    assert [data["content"] for data in feed.handled] == ["x" * 100, "next"]
    assert feed.socket.sequence == 2


def test_given_dispatches_nobody_handles_when_received_then_they_count_for_a_resume() -> None:
    feed = Feed()

    feed.receive(feed.frame("PRESENCE_UPDATE", 7, {"status": "idle"}), feed.frame("TYPING_START", 8, {}))

    assert feed.handled == []
    assert feed.socket.sequence == 8


def test_given_a_text_frame_when_received_then_it_is_handled_as_well() -> None:
    feed = Feed()

    async def send() -> None:
        await feed.socket.received_message('{"t":"MESSAGE_CREATE","s":3,"op":0,"d":{"content":"plain"}}')
        await feed.socket.received_message('{"op":0,"d":{"content":"other order"},"s":4,"t":"MESSAGE_CREATE"}')

    asyncio.run(send())

    assert [data["content"] for data in feed.handled] == ["plain", "other order"]
    assert feed.socket.sequence == 4


def test_given_resumed_when_received_then_disnake_handles_it() -> None:
    feed = Feed()

    feed.receive(feed.frame("RESUMED", 9, {"_trace": ["a"]}))

    assert feed.socket._trace == ["a"]
    assert feed.socket.sequence == 9


def test_given_a_handler_that_fails_when_received_then_it_is_logged_and_the_connection_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    feed = Feed()

    def fail(_: Any) -> None:
        raise KeyError("guild_id")

    feed.socket._discord_parsers["CHANNEL_CREATE"] = fail

    feed.receive(feed.frame("CHANNEL_CREATE", 1, {}), feed.frame("MESSAGE_CREATE", 2, {"content": "next"}))

    assert [data["content"] for data in feed.handled] == ["next"]
    assert "dispatch not handled" in caplog.text
