"""The gateway actor on its own: real bridge, real disnake, real simulated Discord; what it sends is recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest
from thespian.actors import ActorExitRequest, WatchMessage

from flora.actors import gateway as gateway_module
from flora.actors.bridge import AsyncBridge
from flora.actors.gateway import Gateway
from flora.actors.retained import Retained
from flora.http.simulator.config import SimulatorConfig
from flora.http.simulator.running import RunningSimulator
from flora.messages.base import Failed, Ok
from flora.messages.gateway import (
    CheckGuildAccess,
    DescribeMember,
    FindGuilds,
    GatewayControl,
    GatewayFailed,
    GatewayFrame,
    GatewayReady,
    GuildJoined,
    GuildLeft,
    GuildsPresent,
    NotePositions,
    NoteSession,
    OpenGateway,
    RestFrame,
    RestResultsFrame,
    ResumePoint,
    ShardSession,
)
from flora.messages.ids import GuildId, ReqId, UserId
from flora.messages.lifecycle import Drain, Peers, PeersChanged, Start
from flora.messages.settings import DiscordSettings, Settings

pytestmark = pytest.mark.service
T = TypeVar("T")


class RecordedGateway(Gateway):
    """A gateway without an actor system: the test is its mailbox."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[Any, Any]] = []

    def send(self, to: Any, message: Any) -> None:
        self.sent.append((to, message))

    def begin(self, settings: Settings, peers: Peers, where: dict[str, Any] | None) -> None:
        self.settings, self.peers = settings, peers
        self.bridge = AsyncBridge("gateway")
        self._bridge_open = True
        self.on_start(Start(req_id=ReqId("1"), settings=settings, peers=peers, name="gateway"))
        self.answer_where(**(where or {}))

    def answer_where(
        self, next_seq: int = 0, subscriptions: tuple[Any, ...] = (), sessions: tuple[ShardSession, ...] = ()
    ) -> None:
        """The router says where to go on."""
        (request,) = (message for _, message in self.sent if type(message) is ResumePoint)
        value = {"next_seq": next_seq, "subscriptions": subscriptions, "sessions": sessions}
        self.receiveMessage(Ok(req_id=request.req_id, value=value), "router")

    def pump(self) -> None:
        self.receiveMessage(WatchMessage([self.bridge.fd]), None)

    def got(self, kind: type[T], to: Any = None) -> list[T]:
        self.pump()
        return [message for where, message in self.sent if type(message) is kind and to in {None, where}]

    def frames(self, to: Any = None) -> list[GatewayFrame]:
        """Frames with events; bare acknowledgements have the number 0."""
        return [frame for frame in self.got(GatewayFrame, to) if frame.number]


PEERS = Peers(runtime="runtime", router="router", deployer="deployer", workers=((0, "worker 0"),))
Begin = Callable[..., RecordedGateway]


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Begin]:
    made: list[RecordedGateway] = []

    def start(
        api_base: str,
        token: str = SimulatorConfig().bot_token,
        *,
        connect: bool = True,
        where: dict[str, Any] | None = None,
    ) -> RecordedGateway:
        gateway = RecordedGateway()
        made.append(gateway)
        discord = DiscordSettings(bot_token=token, api_base=api_base)
        gateway.begin(Settings(data_dir=tmp_path, discord=discord), PEERS, where)
        if connect:
            gateway.receiveMessage(OpenGateway(), "runtime")
        return gateway

    yield start
    for gateway in made:
        gateway.receiveMessage(ActorExitRequest(), None)


def control(number: int, ack: int, *subscriptions: tuple[str, tuple[str, ...]]) -> GatewayControl:
    return GatewayControl(number=number, ack=ack, epoch="r1", subscriptions=subscriptions)


async def subscribed(gateway: RecordedGateway, guild_id: str, eventually: Any) -> None:
    """READY arrived and was acknowledged, the guild's messages are wanted."""
    await eventually.soon(lambda: gateway.got(GatewayReady) and gateway.frames())
    frames = gateway.frames()
    gateway.receiveMessage(control(1, len(frames), (guild_id, ("messageCreate",))), "router")
    await eventually.soon(lambda: guild_id in gateway._service.sink._wanted["messageCreate"])


async def test_given_discord_when_started_then_runtime_and_deployer_hear_of_it(
    simulator: RunningSimulator, begin: Begin, eventually: Any
) -> None:
    guild = simulator.add_guild()
    gateway = begin(simulator.api_base)

    (ready,) = await eventually.soon(lambda: gateway.got(GatewayReady, "runtime"))
    await eventually.soon(lambda: GuildId(guild.id) in {m.guild_id for m in gateway.got(GuildJoined, "deployer")})

    assert ready.application_id == simulator.config.application_id
    gateway.receiveMessage(PeersChanged(peers=Peers(runtime="runtime", router="router", deployer="new one")), "runtime")
    (present,) = gateway.got(GuildsPresent, "new one")
    assert (GuildId(guild.id) in present.guild_ids, present.complete) == (True, True)


async def test_given_a_gateway_not_opened_yet_when_scripts_load_then_their_calls_run_and_no_event_comes(
    simulator: RunningSimulator, begin: Begin, eventually: Any
) -> None:
    guild = simulator.add_guild()
    gateway = begin(simulator.api_base, connect=False)
    route = f"/applications/{{app}}/guilds/{guild.id}/commands"
    call = (1, guild.id, "PUT", route, (("guild", guild.id),), "[]", (), None, False)

    gateway.receiveMessage(RestFrame(number=1, ack=0, epoch="w1", calls=(call,)), "worker 0")
    await eventually.soon(lambda: [frame for frame in gateway.got(RestResultsFrame) if frame.results])
    assert simulator.simulator.hub.connected() == []

    gateway.receiveMessage(OpenGateway(), "runtime")
    await eventually.soon(lambda: gateway.got(GatewayReady))


async def test_given_a_full_window_when_more_events_come_then_they_wait_and_leave_in_one_frame(
    simulator: RunningSimulator, begin: Begin, eventually: Any
) -> None:
    guild = simulator.add_guild()
    gateway = begin(simulator.api_base)
    await subscribed(gateway, guild.id, eventually)

    for number in range(60):
        simulator.post(guild, f"m{number}")
    await eventually.soon(lambda: gateway.frames("router")[-1].wants_ack)
    sent = len(gateway.frames("router"))
    for number in range(60, 100):
        simulator.post(guild, f"m{number}")
    await eventually.soon(lambda: len(gateway._service.sink) >= 40)
    assert len(gateway.frames("router")) == sent
    gateway.receiveMessage(control(0, gateway.frames("router")[-1].number), "router")

    frames = gateway.frames("router")
    assert len(frames) == sent + 1
    contents = [orjson.loads(text).get("content") for frame in frames for text in frame.payloads]
    assert contents[-100:] == [f"m{number}" for number in range(100)]
    seqs = [frame.first_seq for frame in frames]
    assert seqs == sorted(set(seqs))
    assert frames[-1].received_us == tuple(sorted(frames[-1].received_us))


async def test_given_a_new_router_when_it_replaces_the_old_one_then_it_gets_all_that_is_not_settled_under_its_old_numbers(
    simulator: RunningSimulator, begin: Begin, eventually: Any
) -> None:
    guild = simulator.add_guild()
    gateway = begin(simulator.api_base)
    await subscribed(gateway, guild.id, eventually)
    simulator.post(guild, "settled")
    simulator.post(guild, "under way")
    await eventually.soon(lambda: sum(len(frame.names) for frame in gateway.frames()) == 3)
    first_seq = gateway.frames()[0].first_seq
    settled = GatewayControl(number=0, ack=0, epoch="r1", settled_below=first_seq + 2)
    gateway.receiveMessage(settled, "router")
    simulator.post(guild, "waiting")
    await eventually.soon(lambda: len(gateway._service.sink))

    gateway.receiveMessage(PeersChanged(peers=Peers(runtime="runtime")), "runtime")
    simulator.post(guild, "meanwhile")
    await eventually.soon(lambda: len(gateway._service.sink) == 2)
    gateway.receiveMessage(PeersChanged(peers=Peers(runtime="runtime", router="router 2")), "runtime")

    late = GatewayControl(number=1, ack=99, epoch="r1", replaces_all=True, settled_below=first_seq + 9)
    gateway.receiveMessage(late, "router")  # of the one that is gone: it changes nothing
    gateway.receiveMessage(PeersChanged(peers=Peers(runtime="runtime", router="router 3")), "runtime")

    for router in ("router 2", "router 3"):
        frames = gateway.frames(router)
        contents = [orjson.loads(text)["content"] for frame in frames for text in frame.payloads]
        assert contents == ["under way", "waiting", "meanwhile"]
        numbers = [frame.first_seq + offset for frame in frames for offset in range(len(frame.names))]
        assert numbers == [first_seq + 2, first_seq + 3, first_seq + 4]


async def test_given_rest_calls_of_a_worker_when_they_end_then_it_gets_the_results(
    simulator: RunningSimulator, begin: Begin, eventually: Any
) -> None:
    guild = simulator.add_guild()
    channel = simulator.first_channel(guild)
    gateway = begin(simulator.api_base)
    route, scope = f"/channels/{channel.id}/messages", (("channel", channel.id),)
    calls = tuple(
        (number, guild.id, "POST", route, scope, f'{{"content":"r{number}"}}', (), None, False) for number in range(20)
    )
    frame = RestFrame(number=1, ack=0, epoch="w1", calls=calls)

    gateway.receiveMessage(frame, "worker 0")
    gateway.receiveMessage(frame, "worker 0")  # delivered twice, run once

    def results() -> dict[int, bool]:
        found = gateway.got(RestResultsFrame, "worker 0")
        for each in found:
            if each.number:
                ack = RestFrame(number=0, ack=each.number, epoch="w1", calls=())
                gateway.receiveMessage(ack, "worker 0")
        return {call_id: ok for each in found for call_id, ok, _ in each.results}

    await eventually.soon(lambda: len(results()) == 20)
    assert all(results().values())
    assert sorted(simulator.bot_messages(guild)) == sorted(f"r{number}" for number in range(20))


async def test_given_a_guilds_owner_when_asked_then_access_is_granted_and_to_strangers_refused(
    simulator: RunningSimulator, begin: Begin, eventually: Any
) -> None:
    guild = simulator.add_guild("Mine")
    stranger = simulator.simulator.world.add_user("sam")["id"]
    gateway = begin(simulator.api_base)
    guild_id, owner_id = GuildId(guild.id), UserId(guild.owner_id)

    gateway.receiveMessage(CheckGuildAccess(req_id=ReqId("a"), guild_id=guild_id, user_id=owner_id), "http")
    gateway.receiveMessage(CheckGuildAccess(req_id=ReqId("b"), guild_id=guild_id, user_id=UserId(stranger)), "http")
    gateway.receiveMessage(DescribeMember(req_id=ReqId("c"), guild_id=guild_id, user_id=owner_id), "http")
    gateway.receiveMessage(DescribeMember(req_id=ReqId("d"), guild_id=guild_id, user_id=UserId("system")), "http")

    await eventually.soon(lambda: len(gateway.got(Ok, "http")) + len(gateway.got(Failed, "http")) == 4)
    values = {reply.req_id: reply.value for reply in gateway.got(Ok, "http")}
    assert values == {"a": None, "c": {"username": "owner-of-mine"}, "d": {"username": None}}
    (refusal,) = gateway.got(Failed, "http")
    assert (refusal.req_id, refusal.code, refusal.message) == ("b", "FORBIDDEN", "User is not in guild")


@pytest.mark.parametrize("connect", [True, False])
async def test_given_guilds_when_asked_where_the_bot_is_then_it_knows_before_and_after_it_connected(
    simulator: RunningSimulator, begin: Begin, eventually: Any, connect: bool
) -> None:
    guild = simulator.add_guild()
    gateway = begin(simulator.api_base, connect=connect)
    if connect:
        await eventually.soon(lambda: gateway.got(GatewayReady, "runtime"))

    asked = (GuildId("5"), GuildId(guild.id))
    gateway.receiveMessage(FindGuilds(req_id=ReqId("a"), guild_ids=asked), "http")

    (answer,) = await eventually.soon(lambda: gateway.got(Ok, "http"))
    assert answer.value == (guild.id,)


async def test_given_a_wrong_token_when_started_then_runtime_is_told_what_to_change(
    simulator: RunningSimulator, begin: Begin, eventually: Any
) -> None:
    gateway = begin(simulator.api_base, token="MTAw.wrong.token")

    (failure,) = await eventually.soon(lambda: gateway.got(GatewayFailed, "runtime"))

    assert failure.code == "CONFIG_ERROR"
    assert "DISCORD_BOT_TOKEN" in failure.message


async def test_given_a_drain_when_calls_run_then_they_finish_and_no_event_is_taken_in(
    simulator: RunningSimulator, begin: Begin, eventually: Any
) -> None:
    guild = simulator.add_guild()
    channel = simulator.first_channel(guild)
    gateway = begin(simulator.api_base)
    await subscribed(gateway, guild.id, eventually)
    route, scope = f"/channels/{channel.id}/messages", (("channel", channel.id),)
    call = (1, guild.id, "POST", route, scope, '{"content":"last words"}', (), None, False)

    gateway.receiveMessage(RestFrame(number=1, ack=0, epoch="w1", calls=(call,)), "worker 0")
    gateway.receiveMessage(Drain(req_id=ReqId("z"), limit_s=5.0), "runtime")
    await eventually.soon(lambda: [reply for reply in gateway.got(Ok, "runtime") if reply.req_id == "z"])
    simulator.post(guild, "too late")

    await eventually.soon(lambda: gateway._service.sink.counts["shed"])
    assert simulator.bot_messages(guild) == ["last words"]
    assert [name for frame in gateway.frames() for name in frame.names] == ["ready"]


# Another gateway before and after this one


async def test_given_events_then_their_frames_and_later_notes_say_how_far_in_discords_stream_they_reach(
    simulator: RunningSimulator, begin: Begin, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "POSITIONS_EVERY_S", 0.02)
    guild, other = simulator.add_guild(), simulator.add_guild()
    gateway = begin(simulator.api_base)
    await subscribed(gateway, guild.id, eventually)
    (noted,) = gateway.got(NoteSession, "router")
    (session,) = simulator.simulator.hub.connected()
    assert (noted.session.session_id, set(noted.session.guild_ids)) == (
        session.id,
        set(simulator.simulator.world.guilds),
    )

    simulator.post(guild, "wanted")
    await eventually.soon(lambda: "messageCreate" in gateway.frames()[-1].names)
    (position,) = gateway.frames()[-1].positions
    assert position == (0, session.id, session.sequence)
    simulator.post(other, "not wanted")

    ahead = (0, session.id, session.sequence)
    await eventually.soon(lambda: [note for note in gateway.got(NotePositions, "router") if note.positions == (ahead,)])
    assert len([frame for frame in gateway.frames() if "messageCreate" in frame.names]) == 1


async def test_given_a_router_that_knows_the_subscriptions_and_numbers_then_the_new_gateway_goes_on_with_them(
    simulator: RunningSimulator, begin: Begin, eventually: Any
) -> None:
    guild = simulator.add_guild()
    far = 1 << 60
    gateway = begin(simulator.api_base, where={"next_seq": far, "subscriptions": ((guild.id, ("messageCreate",)),)})
    await eventually.soon(gateway.frames)

    simulator.post(guild, "at once")

    await eventually.soon(lambda: "messageCreate" in gateway.frames()[-1].names)
    assert gateway.frames()[0].first_seq == far


async def test_given_a_session_that_is_gone_when_a_guild_left_meanwhile_then_the_deployer_hears_it(
    simulator: RunningSimulator, begin: Begin, eventually: Any
) -> None:
    guild = simulator.add_guild()
    gone = ShardSession(
        shard_id=0, shard_count=1, session_id="gone", resume_url="", application_id="1", bot_user_id="1",
        guild_ids=(guild.id, "404"), sequence=1,
    )  # fmt: skip

    gateway = begin(simulator.api_base, where={"sessions": (gone,)})

    (left,) = await eventually.soon(lambda: gateway.got(GuildLeft, "deployer"), within_s=10.0)
    assert left.guild_id == "404"
    (noted,) = gateway.got(NoteSession, "router")
    assert guild.id in noted.session.guild_ids
    assert "404" not in noted.session.guild_ids


async def test_given_guilds_that_come_and_go_then_the_noted_session_follows_and_a_new_router_hears_it(
    simulator: RunningSimulator, begin: Begin, eventually: Any
) -> None:
    gateway = begin(simulator.api_base)
    await eventually.soon(lambda: gateway.got(NoteSession))

    guild = simulator.add_guild()

    await eventually.soon(lambda: guild.id in gateway.got(NoteSession)[-1].session.guild_ids)
    gateway.receiveMessage(PeersChanged(peers=Peers(runtime="runtime", router="router 2")), "runtime")
    assert gateway.got(NoteSession, "router 2") == gateway.got(NoteSession, "router")[-1:]


async def test_given_a_router_that_never_answers_then_the_gateway_connects_without_it(
    simulator: RunningSimulator, begin: Begin, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "RESUME_LIMIT_S", 0.05)
    monkeypatch.setattr(RecordedGateway, "answer_where", lambda self: None)

    gateway = begin(simulator.api_base)

    await eventually.soon(lambda: gateway.got(GatewayReady))


async def test_given_a_router_that_settles_nothing_when_no_more_can_be_kept_then_that_is_said_once(
    simulator: RunningSimulator, begin: Begin, eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    guild = simulator.add_guild()
    gateway = begin(simulator.api_base)
    await subscribed(gateway, guild.id, eventually)
    gateway._retained = Retained(gateway._retained.next_seq, lambda row: len(row[2]), max_rows=2)

    for number in range(4):
        simulator.post(guild, f"m{number}")
    await eventually.soon(lambda: gateway.got(GatewayReady) and gateway._retained.dropped == 2)

    assert caplog.text.count("a router killed from here on loses events") == 1
    assert len(gateway._retained) == 2
