"""`/api/logs`: kept lines and live ones."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest
from aiohttp import ClientError

from flora.http.limits import HttpLimits
from flora.http.log_streams import LogStreams
from flora.http.peers import PeerBook
from flora.messages.ids import GuildId
from flora.messages.lifecycle import Peers
from flora.messages.logs import FollowLogs, LogFilter, LogLines, ReadLogs, StopFollowing

OPERATOR_SECRET = "operator-secret-for-tests"
pytestmark = pytest.mark.service


def line(number: int, level: str = "info", text: str = "hello") -> dict[str, object]:
    return {
        "id": number,
        "timestamp": 1_700_000_000_000 + number,
        "level": level,
        "target": "flora:js",
        "guild_id": "1000",
        "message": text,
    }


@pytest.fixture
def logging_host(host: Any) -> Any:
    return with_log_book(host)


def with_log_book(host: Any) -> Any:
    numbers = itertools.count(1)
    host.system.answers[FollowLogs] = lambda _: {"subscription": f"s{next(numbers)}"}
    host.system.answers[ReadLogs] = lambda request: [line(1), line(2, "error")][-request.limit or 2 :]
    return host


class Reader:
    """One open stream, event by event."""

    def __init__(self, response: Any) -> None:
        self.response = response

    async def event(self) -> dict[str, str]:
        """Fields of the next event; comments under "" and the retry hint under its name."""
        text = (await asyncio.wait_for(self.response.content.readuntil(b"\n\n"), 5)).decode()
        return dict(part.split(": ", 1) for part in text.strip().split("\n"))

    async def line(self) -> Any:
        return json.loads((await self.event())["data"])


async def open_stream(host: Any, query: str = "", **headers: str) -> Reader:
    response = await host.open(f"/api/logs/1000/stream{query}", headers)
    assert response.status == 200, await response.text()
    reader = Reader(response)
    assert "retry" in await reader.event()
    return reader


def deliver(host: Any, *lines: dict[str, object], subscription: str = "s1", lost: int = 0) -> None:
    host.deps.log_streams.deliver(LogLines(subscription=subscription, lines=lines, lost=lost))


async def test_kept_lines_are_read_with_limit_and_level(logging_host: Any) -> None:
    response = await logging_host.get("/api/logs/1000?limit=5&level=warn")

    assert (await response.json())[0] == line(1)
    (asked,) = logging_host.system.of(ReadLogs)
    assert (asked.guild_id, asked.limit, asked.wanted) == ("1000", 5, LogFilter(level="warn"))


async def test_every_filter_reaches_the_log_book(logging_host: Any) -> None:
    query = "source=script&since=2026-01-02T03:04:05%2B00:00&until=1767323046000&q=Pong&before=17"

    await logging_host.get(f"/api/logs/1000?{query}")

    (asked,) = logging_host.system.of(ReadLogs)
    assert asked.wanted == LogFilter(
        source="script", since_ms=1_767_323_045_000, until_ms=1_767_323_046_000, text="Pong", before_id=17
    )


async def test_the_guild_may_be_named_in_the_query_and_the_operator_need_not(logging_host: Any) -> None:
    named = await logging_host.get("/api/logs?guild_id=1000")
    unnamed = await logging_host.get("/api/logs")
    everything = await logging_host.get("/api/logs", token=OPERATOR_SECRET)

    assert [response.status for response in (named, unnamed, everything)] == [200, 400, 200]
    assert "`guild_id` is required" in (await unnamed.json())["message"]
    assert [asked.guild_id for asked in logging_host.system.of(ReadLogs)] == ["1000", None]


async def test_the_limit_has_a_default_and_a_cap(logging_host: Any) -> None:
    for query in ("", "?limit=99999", "?limit=0"):
        assert (await logging_host.get(f"/api/logs/1000{query}")).status == 200

    assert [asked.limit for asked in logging_host.system.of(ReadLogs)] == [100, 1000, 0]


@pytest.mark.parametrize(
    "query",
    [
        "limit=-1",
        "limit=x",
        "limit=1.5",
        "level=loud",
        "limit=",
        "source=me",
        "since=now",
        "until=2026-01-01T00:00:00",
        "q=" + "x" * 201,
        "before=-1",
    ],
)
async def test_parameters_that_make_no_sense_are_400(logging_host: Any, query: str) -> None:
    assert (await logging_host.get(f"/api/logs/1000?{query}")).status == 400
    assert (await logging_host.get(f"/api/logs/1000/stream?{query.replace('limit', 'history')}")).status == 400


async def test_lines_of_no_guild_have_a_null_guild_id(logging_host: Any) -> None:
    logging_host.system.answers[ReadLogs] = lambda _: [{**line(1), "guild_id": ""}]

    assert (await (await logging_host.get("/api/logs/1000")).json())[0]["guild_id"] is None


async def test_live_lines_arrive_as_unnamed_events_with_ids(logging_host: Any) -> None:
    reader = await open_stream(logging_host)
    assert reader.response.content_type == "text/event-stream"

    deliver(logging_host, line(7, text="two\nlines"), line(8))

    event = await reader.event()
    assert event["id"] == "7"
    assert json.loads(event["data"]) == line(7, text="two\nlines")
    assert (await reader.line())["id"] == 8


async def test_a_stream_is_never_compressed(logging_host: Any) -> None:
    reader = await open_stream(logging_host, **{"Accept-Encoding": "gzip"})

    assert "Content-Encoding" not in reader.response.headers


async def test_given_a_last_event_id_when_opened_then_the_log_book_is_asked_for_what_came_after(
    logging_host: Any,
) -> None:
    await open_stream(logging_host, "?history=5", **{"Last-Event-ID": "41"})
    await open_stream(logging_host, **{"Last-Event-ID": "not ours"})

    assert [asked.after_id for asked in logging_host.system.of(FollowLogs)] == [41, None]
    assert not logging_host.system.of(ReadLogs)


async def test_given_history_when_opened_then_kept_lines_come_first_without_a_gap(logging_host: Any) -> None:
    reader = await open_stream(logging_host, "?history=2")

    assert [(await reader.line())["id"] for _ in range(2)] == [1, 2]
    assert logging_host.system.of(FollowLogs)[0].after_id == 2


async def test_given_history_of_a_silent_guild_when_opened_then_nothing_is_missed(logging_host: Any) -> None:
    logging_host.system.answers[ReadLogs] = lambda _: []

    await open_stream(logging_host, "?history=2")

    assert logging_host.system.of(FollowLogs)[0].after_id == 0


async def test_given_a_level_when_streaming_then_the_log_book_leaves_lower_lines_out(logging_host: Any) -> None:
    await open_stream(logging_host, "?level=warn&q=late")

    (asked,) = logging_host.system.of(FollowLogs)
    assert asked.wanted == LogFilter(level="warn", text="late")


async def test_given_lines_were_lost_when_streaming_then_the_reader_is_told_how_many(logging_host: Any) -> None:
    reader = await open_stream(logging_host)

    deliver(logging_host, line(9), lost=4)

    assert await reader.event() == {"event": "lost", "data": '{"lost":4}'}
    assert (await reader.line())["id"] == 9


async def test_given_silence_when_streaming_then_comments_keep_the_connection(make_host: Any) -> None:
    host = with_log_book(await make_host(HttpLimits(keep_alive_s=0.02)))
    reader = await open_stream(host)

    assert await reader.event() == {"": "keep-alive"}
    assert await reader.event() == {"": "keep-alive"}


async def test_given_a_reader_that_takes_nothing_when_others_read_then_they_are_not_held_up(
    make_host: Any, eventually: Any
) -> None:
    host = with_log_book(await make_host(HttpLimits(stream_lines=50)))
    slow, quick = await open_stream(host), await open_stream(host)
    big = "x" * 20_000
    slow.response.connection.transport.pause_reading()

    for number in range(2_000):
        deliver(host, line(number, text=big), subscription="s1")
        deliver(host, line(number), subscription="s2")
        assert (await quick.line())["id"] == number

    queued = host.deps.log_streams._streams["s1"]
    assert len(queued._lines) <= 50
    assert queued._lost > 0
    slow.response.close()


async def test_given_a_reader_that_takes_nothing_for_too_long_then_it_is_cut_off(
    make_host: Any, eventually: Any
) -> None:
    host = with_log_book(await make_host(HttpLimits(stream_write_s=0.1)))
    slow = await open_stream(host)
    slow.response.connection.transport.pause_reading()

    for number in range(800):
        deliver(host, line(number, text="x" * 20_000))

    await eventually.soon(lambda: len(host.deps.log_streams) == 0)
    assert host.system.told == [("log_book", StopFollowing(subscription="s1"))]
    slow.response.connection.transport.resume_reading()
    with pytest.raises((ClientError, ConnectionError)):
        await slow.response.content.read()


async def test_given_the_reader_leaves_when_the_next_line_comes_then_the_log_book_is_told(
    make_host: Any, eventually: Any
) -> None:
    host = with_log_book(await make_host(HttpLimits(keep_alive_s=0.02)))
    reader = await open_stream(host)

    reader.response.close()

    await eventually.soon(lambda: host.system.told == [("log_book", StopFollowing(subscription="s1"))])


async def test_given_the_log_book_restarts_when_streaming_then_the_stream_ends_so_that_the_reader_comes_back(
    logging_host: Any,
) -> None:
    reader = await open_stream(logging_host)
    deliver(logging_host, line(1))

    logging_host.deps.log_streams.end_all()

    assert (await reader.line())["id"] == 1
    assert await reader.event() == {"": "end"}
    assert await reader.response.content.read() == b""


async def test_given_too_many_streams_when_another_is_opened_then_429(make_host: Any) -> None:
    host = with_log_book(await make_host(HttpLimits(streams=1)))
    await open_stream(host)

    response = await host.get("/api/logs/1000/stream")

    assert (response.status, (await response.json())["code"]) == (429, "MAILBOX_FULL")


async def test_a_stream_needs_permission_like_any_route(logging_host: Any) -> None:
    assert (await logging_host.get("/api/logs/1000/stream", token=None)).status == 401
    assert (await logging_host.get("/api/logs/2000/stream")).status == 403


async def test_lines_that_overtake_the_reply_naming_their_subscription_are_not_lost() -> None:
    named = asyncio.Event()

    class LogBook:
        def __init__(self) -> None:
            self.told: list[Any] = []

        async def ask(self, to: object, request: object, limit_s: float = 30) -> Any:
            await named.wait()
            return {"subscription": "s1"}

        def tell(self, to: object, message: object) -> None:
            self.told.append(message)

    log_book = LogBook()
    streams = LogStreams(PeerBook(log_book, Peers(log_book="log_book")))
    opening = asyncio.create_task(streams.follow(GuildId("1"), None))
    await asyncio.sleep(0)

    streams.deliver(LogLines(subscription="s1", lines=(line(1),)))
    streams.deliver(LogLines(subscription="somebody-who-left", lines=(line(1),)))
    named.set()
    stream = await opening

    batch = await stream.take(1)
    assert batch is not None
    assert [entry["id"] for entry in batch.lines] == [1]
    assert log_book.told == [StopFollowing(subscription="somebody-who-left")]
