"""The parts of one simulated Discord, put together."""

from __future__ import annotations

import asyncio

from flora.http.simulator import snapshot
from flora.http.simulator.attachments import Attachments
from flora.http.simulator.config import SimulatorConfig
from flora.http.simulator.errors import JsonObject
from flora.http.simulator.gateway.connection import Connection
from flora.http.simulator.gateway.hub import Hub
from flora.http.simulator.interactions import Interactions
from flora.http.simulator.oauth import Grants
from flora.http.simulator.posting import Posting
from flora.http.simulator.rate_limits import RateLimits
from flora.http.simulator.reactions import Reactions
from flora.http.simulator.stats import Stats
from flora.http.simulator.world import World

OWNER_NAME = "robin"
GUEST_NAME = "sam"


class Simulator:
    """State and services behind the routes. Everything in it belongs to one event loop."""

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = config
        self.hub = Hub(config.application_id, config.session_ttl_s, self._guild_create)
        self.changed = asyncio.Event()
        self.world = World(config, self.hub.emit, self.changed.set)
        self.stats = Stats()
        self.posting = Posting(self.world)
        self.reactions = Reactions(self.world)
        self.interactions = Interactions(self.world, self.stats)
        self.limits = RateLimits(config.global_limit_per_s)
        self.rate_limits_on = config.rate_limits
        self.grants = Grants(config, self.changed.set)
        self.attachments = Attachments(self.world.ids, config.max_attachment_bytes, config.max_stored_attachment_bytes)
        self.base_url = ""  # known once the server listens

    def load(self) -> None:
        """Brings back the snapshot, or makes the first guild."""
        if self.config.snapshot_path is not None:
            snapshot.load(self.world, self.grants, self.config.snapshot_path)
        if self.config.demo_guild and not self.world.guilds:
            owner = self.world.add_user(OWNER_NAME, global_name="Robin")
            guest = self.world.add_user(GUEST_NAME, global_name="Sam")
            guild = self.world.add_guild("Demo guild", owner["id"])
            self.world.add_member(guild, guest["id"])

    def save(self) -> None:
        """Writes the snapshot, if there is a place for it."""
        if self.config.snapshot_path is not None:
            snapshot.save(self.world, self.grants, self.config.snapshot_path)

    def connections(self) -> list[Connection]:
        """The websockets that carry a session now."""
        return [s.link for s in self.hub.sessions.values() if isinstance(s.link, Connection)]

    def _guild_create(self, guild_id: str, all_members: bool) -> JsonObject | None:
        guild = self.world.guilds.get(guild_id)
        if guild is None or guild.unavailable:
            return None
        return self.world.guild_create_payload(guild, all_members=all_members)
