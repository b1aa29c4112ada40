"""A simulated Discord that serves: within a test's event loop, or as a process of its own."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from flora.http.simulator import forms
from flora.http.simulator.app import create_app
from flora.http.simulator.config import API_PREFIX, SimulatorConfig
from flora.http.simulator.control.base import SIMULATOR
from flora.http.simulator.control.options import as_options, resolve
from flora.http.simulator.errors import JsonObject
from flora.http.simulator.interactions import COMMAND, COMPONENT, Interaction
from flora.http.simulator.model import Channel, Guild
from flora.http.simulator.simulator import Simulator

SHUTDOWN_LIMIT_S = 0.5  # for clients that do not answer the goodbye


class RunningSimulator:
    """Serves one simulated Discord on the running loop, until it is closed.

    Example:
        async with RunningSimulator(SimulatorConfig()) as sim:
            guild = sim.add_guild()
            sim.post(guild, "!ping")
    """

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        self.config = config or SimulatorConfig()
        self.port = 0
        self._runner: web.AppRunner | None = None
        self.simulator: Simulator

    async def start(self) -> None:
        """Begins to serve.

        Raises:
            OSError: The port is taken.
        """
        app = create_app(self.config)
        self.simulator = app[SIMULATOR]
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_LIMIT_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.config.host, self.config.port)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        self.simulator.base_url = self.base_url

    async def close(self) -> None:
        """Ends all connections and saves."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def base_url(self) -> str:
        """Where everything is, e.g. `http://127.0.0.1:40123`."""
        host = "127.0.0.1" if self.config.host in ("0.0.0.0", "::") else self.config.host
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}"

    @property
    def api_base(self) -> str:
        """What a client takes for `https://discord.com/api/v10`."""
        return self.base_url + API_PREFIX

    # What people do, without HTTP

    def add_guild(self, name: str = "Guild", **options: Any) -> Guild:
        """Makes a guild with its own owner; options as of `World.add_guild`."""
        owner_id = options.pop("owner_id", None) or self.simulator.world.add_user(f"owner-of-{name.lower()}")["id"]
        return self.simulator.world.add_guild(name, owner_id, **options)

    def first_channel(self, guild: Guild) -> Channel:
        return next(iter(guild.channels.values()))

    def post(
        self, guild: Guild, content: str, *, channel: Channel | None = None, author_id: str | None = None
    ) -> JsonObject:
        """A person (the owner by default) writes a message."""
        form = {"content": content}
        forms.check_message(form, has_attachments=False)
        author = self.simulator.world.users[author_id or guild.owner_id]
        message = self.simulator.posting.post(channel or self.first_channel(guild), author, form)
        self.simulator.stats.pushed(message["id"])
        return message

    def messages(self, guild: Guild, channel: Channel | None = None) -> list[JsonObject]:
        """All messages of a channel (the first by default), oldest first, ephemeral ones too."""
        return list((channel or self.first_channel(guild)).messages.values())

    def bot_messages(self, guild: Guild, channel: Channel | None = None) -> list[str]:
        """What the bot wrote in a channel, oldest first."""
        bot_id = self.simulator.world.bot_id
        return [m["content"] for m in self.messages(guild, channel) if m["author"]["id"] == bot_id]

    def use_command(self, guild: Guild, name: str, **options: Any) -> Interaction:
        """A person (the owner) uses a registered slash command; `name` may go on to a subcommand.

        Raises:
            StopIteration: The command is not registered.
        """
        words = name.split()
        command = next(c for c in guild.commands.values() if c["name"] == words[0])
        made = as_options(command, words[1:], options)
        data: JsonObject = {"id": command["id"], "name": command["name"], "type": 1, "options": made}
        data["resolved"] = resolve(self.simulator.world, guild, made)
        return self.simulator.interactions.start(COMMAND, guild, self.first_channel(guild), guild.owner_id, data)

    def press(self, guild: Guild, message: JsonObject, custom_id: str) -> Interaction:
        """A person (the owner) presses a button."""
        channel = guild.channels[message["channel_id"]]
        data = {"custom_id": custom_id, "component_type": 2}
        return self.simulator.interactions.start(COMPONENT, guild, channel, guild.owner_id, data, message)

    async def wait_for_session(self, count: int = 1, within_s: float = 10.0) -> None:
        """Waits until so many gateway sessions are connected.

        Raises:
            TimeoutError: They are not there in time.
        """
        async with asyncio.timeout(within_s):
            while len(self.simulator.hub.connected()) < count:  # noqa: ASYNC110 - sessions come and go
                await asyncio.sleep(0.01)
