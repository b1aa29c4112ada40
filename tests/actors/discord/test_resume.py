"""A gateway process that goes on where another one was killed, against a real simulated Discord."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.actors.discord.event_socket import let_go_of
from flora.actors.gateway import positions_of
from flora.http.simulator.running import RunningSimulator
from flora.messages.gateway import ShardSession

service = pytest.mark.service


async def killed(connected: Any) -> ShardSession:
    """Cuts a service off without a goodbye; gives what a router would know of its session."""
    connected.task.cancel()
    for socket in connected.service.client._sockets:
        let_go_of(socket)
    ((_, session_id, sequence),) = connected.service.sink.reached.handled.values()
    (session,) = connected.sessions
    assert session.session_id == session_id
    return replace(session, sequence=sequence)


@pytest.fixture
async def killed_session(simulator: RunningSimulator, connect: Any, eventually: Any) -> tuple[Any, ShardSession]:
    """A guild, and the session of a gateway that was killed once it was ready."""
    guild = simulator.add_guild()
    first = await connect(simulator.api_base)
    await eventually.soon(lambda: first.ready)
    return guild, await killed(first)


async def resumed(connect: Any, simulator: RunningSimulator, session: ShardSession, wanted: str) -> Any:
    connected = await connect(simulator.api_base, at_once=False)
    connected.service.sink.subscribe([(wanted, ["messageCreate"])])
    connected.service.client.resume_from([session])
    connected.service.may_connect.set()
    return connected


@service
async def test_given_a_killed_gateway_when_the_next_resumes_then_it_gets_what_was_missed_and_no_second_ready(
    simulator: RunningSimulator, connect: Any, eventually: Any
) -> None:
    guild = simulator.add_guild()
    first = await connect(simulator.api_base)
    await eventually.soon(lambda: first.ready and guild.id in {guild_id for guild_id, _ in first.guilds})
    first.service.sink.subscribe([(guild.id, ["messageCreate"])])
    simulator.post(guild, "before")
    await eventually.soon(lambda: len(first.service.sink) == 2)
    session = await killed(first)
    simulator.post(guild, "meanwhile")

    second = await resumed(connect, simulator, session, guild.id)
    await eventually.soon(lambda: second.ready)
    simulator.post(guild, "after")
    await eventually.soon(lambda: len(second.service.sink) == 2)

    assert second.contents() == ["meanwhile", "after"]
    assert second.ready == first.ready
    assert simulator.simulator.hub.identified == 1
    assert second.sessions == [session]
    second.call(1, guild.id, "GET", f"/channels/{simulator.first_channel(guild).id}", retry=True)
    await eventually.soon(lambda: second.results)
    assert second.results[1][1], "REST works although no guild was announced"


@service
async def test_given_a_session_that_discord_has_forgotten_then_the_shard_identifies(
    simulator: RunningSimulator, connect: Any, eventually: Any, killed_session: tuple[Any, ShardSession]
) -> None:
    guild, session = killed_session

    second = await resumed(connect, simulator, replace(session, session_id="forgotten"), guild.id)
    await eventually.soon(lambda: second.ready, within_s=10.0)

    assert [made.session_id == session.session_id for made in second.sessions] == [False]
    assert simulator.simulator.hub.identified == 2


@service
async def test_given_a_resume_address_that_does_not_answer_then_the_usual_one_is_tried(
    simulator: RunningSimulator, connect: Any, eventually: Any, killed_session: tuple[Any, ShardSession]
) -> None:
    guild, session = killed_session
    simulator.post(guild, "meanwhile")

    second = await resumed(connect, simulator, replace(session, resume_url="ws://127.0.0.1:1"), guild.id)
    await eventually.soon(lambda: second.ready)

    assert second.contents() == ["meanwhile"]
    assert simulator.simulator.hub.identified == 1


@service
async def test_given_a_session_of_another_number_of_shards_then_it_is_not_resumed(
    simulator: RunningSimulator, connect: Any, eventually: Any, killed_session: tuple[Any, ShardSession]
) -> None:
    guild, session = killed_session

    second = await resumed(connect, simulator, replace(session, shard_count=2), guild.id)
    await eventually.soon(lambda: second.ready)

    assert simulator.simulator.hub.identified == 2


@service
async def test_given_dispatches_that_nobody_wants_then_they_count_as_handled(
    simulator: RunningSimulator, connect: Any, eventually: Any
) -> None:
    guild = simulator.add_guild()
    connected = await connect(simulator.api_base)
    await eventually.soon(lambda: connected.ready)
    reached = connected.service.sink.reached.handled
    before = reached[0][2]

    simulator.post(guild, "nobody subscribed")

    await eventually.soon(lambda: reached[0][2] > before)
    assert [name for _, name, _ in connected.events()] == ["ready"]


SOURCES = st.lists(st.tuples(st.integers(0, 2), st.just("s"), st.integers(1, 50)), max_size=20)


@given(sources=SOURCES, handled=SOURCES)
def test_given_any_frame_then_each_shards_position_is_the_furthest(
    sources: list[tuple[int, str, int]], handled: list[tuple[int, str, int]]
) -> None:
    sources.sort(key=lambda source: source[2])  # as they came
    last = {source[0]: source for source in handled}

    found = positions_of(sources, last)

    assert sorted(found) == sorted(max(x for x in [*sources, *last.values()] if x[0] == shard) for shard, _, _ in found)
    assert {shard for shard, _, _ in found} == {source[0] for source in (*sources, *last.values())}


def test_given_a_new_session_in_the_frame_then_it_counts_whatever_its_number() -> None:
    assert positions_of([(0, "old", 90), (0, "new", 1)], {0: (0, "old", 95)}) == ((0, "new", 1),)
