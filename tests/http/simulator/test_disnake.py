"""The contract as the real library sees it: disnake against the simulated Discord."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import disnake
import pytest

from flora.http.simulator.interactions import MODAL_SUBMIT

if TYPE_CHECKING:
    from conftest import Client as Raw
    from conftest import Lab

pytestmark = pytest.mark.service
WITHIN_S = 5.0


class Bot(disnake.Client):
    """A client that hands out its events in order."""

    def __init__(self, **options: Any) -> None:
        super().__init__(intents=disnake.Intents.all(), **options)
        self._connection.guild_ready_timeout = 0.05  # how long it waits for one more guild before it is ready
        self.seen: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    def dispatch(self, event: str, *args: Any, **kwargs: Any) -> None:
        super().dispatch(event, *args, **kwargs)
        if not event.startswith("socket"):
            self.seen.put_nowait((event, args))

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Identifies at once; disnake would wait 5 s before any but the first time."""

    async def next(self, event: str) -> Any:
        """The argument of the next such event (a tuple if there are several, None if there is none)."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                name, args = await self.seen.get()
                if name == event:
                    return args[0] if len(args) == 1 else args or None


Connect = Callable[..., Awaitable[Bot]]


@pytest.fixture
async def connect(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Connect]:
    async with _bots(monkeypatch) as connect:
        yield connect


@asynccontextmanager
async def _bots(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Connect]:
    running: list[tuple[Bot, asyncio.Task[None]]] = []

    async def start(raw: Raw, **options: Any) -> Bot:
        monkeypatch.setattr(disnake.http.Route, "BASE", raw.sim.api_base)
        bot = Bot(**options)
        await bot.login(raw.sim.config.bot_token)
        running.append((bot, asyncio.create_task(bot.connect())))
        await bot.next("ready")
        return bot

    yield start
    for bot, task in running:
        await bot.close()
        await asyncio.wait([task])


async def test_given_disnake_when_it_connects_then_it_knows_guilds_channels_roles_and_members(
    client: Raw, connect: Connect
) -> None:
    guild = client.sim.add_guild("Home", channels=("general", "random"))

    bot = await connect(client)

    known = bot.get_guild(int(guild.id))
    assert known is not None
    assert [c.name for c in known.text_channels] == ["general", "random"]
    assert known.me.guild_permissions.manage_messages
    assert known.owner is not None
    assert known.owner.id == int(guild.owner_id)
    assert (await bot.application_info()).id == int(client.sim.config.application_id)


async def test_given_a_message_when_the_bot_replies_then_the_reply_refers_to_it(client: Raw, connect: Connect) -> None:
    guild = client.sim.add_guild()
    bot = await connect(client)

    client.sim.post(guild, "!ping <@1000000000000000001>")
    message = await bot.next("message")
    await message.reply("pong", embed=disnake.Embed(title="t"), view=None)

    reply = client.sim.messages(guild)[-1]
    assert (message.content, message.author.id) == ("!ping <@1000000000000000001>", int(guild.owner_id))
    assert bot.user in message.mentions
    assert (reply["content"], reply["embeds"][0]["title"]) == ("pong", "t")
    assert reply["referenced_message"]["content"] == message.content
    stats = (await client.control("GET", "/sim/stats")).body
    assert (stats["replies"], stats["unanswered"]) == (1, 0)
    assert 0 < stats["reply_latency_ms"]["p50"] < 5000


async def test_given_changes_by_people_then_their_events_arrive_parsed(client: Raw, connect: Connect) -> None:
    guild = client.sim.add_guild()
    world, posting = client.sim.simulator.world, client.sim.simulator.posting
    bot = await connect(client)
    message = client.sim.post(guild, "first")
    await bot.next("message")
    channel = client.sim.first_channel(guild)

    posting.edit(channel, message, {"content": "second"})
    _, after = await bot.next("message_edit")
    client.sim.simulator.reactions.add(channel, message, {"id": None, "name": "👍"}, guild.owner_id)
    reaction, user = await bot.next("reaction_add")
    posting.delete(channel, [message["id"]])
    deleted = await bot.next("message_delete")
    joined_id = world.add_member(guild, world.add_user("new")["id"])["user"]["id"]
    joined = await bot.next("member_join")
    made = world.add_channel(guild, "extra")

    assert after.content == "second"
    assert (str(reaction.emoji), user.id) == ("👍", int(guild.owner_id))
    assert deleted.id == int(message["id"])
    assert joined.id == int(joined_id)
    assert (await bot.next("guild_channel_create")).id == int(made.id)


async def test_given_rest_calls_of_all_kinds_then_disnake_understands_the_answers(
    client: Raw, connect: Connect
) -> None:
    guild = client.sim.add_guild()
    bot = await connect(client)
    channel = bot.get_channel(int(client.sim.first_channel(guild).id))
    assert isinstance(channel, disnake.TextChannel)

    sent = await channel.send("hello", file=disnake.File(__file__, filename="a.py"))
    await sent.edit(content="edited")
    await sent.add_reaction("👍")
    await sent.pin()
    thread = await sent.create_thread(name="talk")
    await thread.send("inside")
    hook = await channel.create_webhook(name="hook")
    hooked = await hook.send("by hook", wait=True, username="Alias")
    role = await channel.guild.create_role(name="Role")
    await channel.guild.me.add_roles(role)
    fetched = await channel.fetch_message(sent.id)
    history = [m.content async for m in channel.history(limit=10)]
    other = await channel.guild.create_text_channel("other", topic="t")
    await other.delete()
    await channel.delete_messages([sent, hooked])

    assert (fetched.content, fetched.pinned, fetched.attachments[0].filename) == ("edited", True, "a.py")
    assert [(str(r.emoji), r.count, r.me) for r in fetched.reactions] == [("👍", 1, True)]
    assert history[:2] == ["by hook", "edited"]
    assert client.sim.messages(guild) == []
    with pytest.raises(disnake.NotFound) as missing:
        await channel.fetch_message(1)
    assert (missing.value.status, missing.value.code) == (404, 10008)
    with pytest.raises(disnake.Forbidden) as forbidden:
        await channel.guild.owner.kick()  # type: ignore[union-attr]
    assert forbidden.value.code == 50013


async def test_given_a_slash_command_then_every_kind_of_response_works(client: Raw, connect: Connect) -> None:
    guild = client.sim.add_guild()
    bot = await connect(client)
    command = disnake.SlashCommand(
        "hello", "Says hello", options=[disnake.Option("who", "Whom", disnake.OptionType.user)]
    )
    await bot.bulk_overwrite_guild_commands(int(guild.id), [command])

    direct = client.sim.use_command(guild, "hello", who=guild.owner_id)
    inter = await bot.next("application_command")
    assert inter.options["who"].id == int(guild.owner_id)
    await inter.response.send_message("hi", ephemeral=True)
    followed = await inter.followup.send("more", wait=True)
    await inter.edit_original_response("hi again")
    with pytest.raises(disnake.HTTPException) as twice:
        await bot.http.create_interaction_response(inter.id, inter.token, type=4, data={"content": "x"})

    client.sim.use_command(guild, "hello")
    deferred = await bot.next("application_command")
    await deferred.response.defer()
    await deferred.edit_original_response("done")

    original, more, done = client.sim.messages(guild)
    assert twice.value.code == 40060
    assert direct.response_type == 4
    assert (original["content"], original["flags"] & 64, original["type"]) == ("hi again", 64, 20)
    assert (more["id"], more["content"]) == (str(followed.id), "more")
    assert (done["content"], done["flags"] & 128) == ("done", 0)
    with pytest.raises(disnake.NotFound):
        await bot.get_channel(int(original["channel_id"])).fetch_message(int(original["id"]))  # type: ignore[union-attr]


async def test_given_a_button_and_a_modal_then_both_come_back(client: Raw, connect: Connect) -> None:
    guild = client.sim.add_guild()
    bot = await connect(client)
    channel = bot.get_channel(int(client.sim.first_channel(guild).id))
    assert isinstance(channel, disnake.TextChannel)
    await channel.send("press", components=[disnake.ui.Button(label="Go", custom_id="go")])
    message = client.sim.messages(guild)[0]

    pressed = client.sim.press(guild, message, "go")
    inter = await bot.next("button_click")
    text = disnake.ui.TextInput(label="Name", custom_id="name")
    await inter.response.send_modal(title="Who?", custom_id="form", components=[text])
    answer = asyncio.create_task(client.control(
        "POST", f"/sim/guilds/{guild.id}/interactions/modal",
        {"interaction_id": pressed.id, "values": {"name": "Kim"}, "wait_s": WITHIN_S},
    ))  # fmt: skip
    modal = await bot.next("modal_submit")
    await modal.response.edit_message(content=f"hello {modal.text_values['name']}", components=[])

    assert inter.component.custom_id == "go"
    assert modal.type.value == MODAL_SUBMIT
    assert (await answer).body["response_type"] == 7
    assert (message["content"], message["components"]) == ("hello Kim", [])


@pytest.mark.parametrize("mode", ["resume", "abort", 4000, "invalid_resumable"])
async def test_given_a_broken_connection_when_disnake_resumes_then_nothing_is_lost(
    client: Raw, connect: Connect, mode: str | int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disnake.backoff.ExponentialBackoff, "delay", lambda _: 0.01)
    guild = client.sim.add_guild()
    bot = await connect(client)

    await client.control("POST", "/sim/sessions/disconnect", {"mode": mode})
    client.sim.post(guild, "while away")

    assert (await bot.next("message")).content == "while away"
    assert len(client.sim.simulator.hub.sessions) == 1


@pytest.mark.fault
async def test_given_a_gateway_gone_silent_then_disnake_notices_and_resumes(lab: Lab, connect: Connect) -> None:
    client = await lab.start(heartbeat_interval_ms=100)
    guild = client.sim.add_guild()
    bot = await connect(client, heartbeat_timeout=0.4)

    await client.control("POST", "/sim/sessions/disconnect", {"mode": "freeze"})
    client.sim.post(guild, "unheard at first")

    assert (await bot.next("message")).content == "unheard at first"
    assert len(client.sim.simulator.hub.sessions) == 1


async def test_given_an_invalid_session_then_disnake_identifies_anew(
    client: Raw, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disnake.backoff.ExponentialBackoff, "delay", lambda _: 0.01)
    guild = client.sim.add_guild()
    bot = await connect(client)
    (old,) = client.sim.simulator.hub.sessions

    await client.control("POST", "/sim/sessions/disconnect", {"mode": "invalid"})
    await bot.next("ready")
    client.sim.post(guild, "hello again")

    assert (await bot.next("message")).content == "hello again"
    assert old not in client.sim.simulator.hub.sessions


async def test_given_rate_limits_when_disnake_sends_too_much_then_it_waits_and_all_arrive(
    lab: Lab, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flora.http.simulator import rate_limits

    send = ("POST", "/channels/{channel_id}/messages")
    monkeypatch.setitem(rate_limits.ROUTE_LIMITS, send, rate_limits.Limit(5, 0.3))
    client = await lab.start()
    guild = client.sim.add_guild()
    bot = await connect(client)
    channel = bot.get_channel(int(client.sim.first_channel(guild).id))
    assert isinstance(channel, disnake.TextChannel)
    for _ in range(4):  # somebody else of the same bot, so that disnake is surprised by a 429
        await client.rest("POST", f"/channels/{channel.id}/messages", {"content": "other"})

    await asyncio.gather(*(channel.send(str(number)) for number in range(12)))

    assert [m for m in client.sim.bot_messages(guild) if m != "other"] == [str(n) for n in range(12)]
