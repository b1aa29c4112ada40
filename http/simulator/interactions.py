"""Interactions: a person uses a command, presses a component or submits a modal; the bot has 3 s to respond."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field

from flora.http.simulator import errors
from flora.http.simulator.errors import JsonObject
from flora.http.simulator.model import Channel, Guild
from flora.http.simulator.stats import Stats
from flora.http.simulator.world import World

COMMAND, COMPONENT, AUTOCOMPLETE, MODAL_SUBMIT = 2, 3, 4, 5
MESSAGE, DEFERRED_MESSAGE, DEFERRED_UPDATE, UPDATE_MESSAGE, AUTOCOMPLETE_RESULT, MODAL = 4, 5, 6, 7, 8, 9
MAX_KEPT = 50_000


@dataclass(slots=True)
class Interaction:
    """One interaction and what became of it."""

    id: str
    token: str
    kind: int
    guild_id: str
    channel_id: str
    user_id: str
    created_at: float  # time.monotonic()
    data: JsonObject
    source_message_id: str | None = None  # the message whose component was used
    response_type: int | None = None
    response_message_id: str | None = None  # @original
    deferred: bool = False  # a type 5 whose message still shows "is thinking"
    modal: JsonObject | None = None
    choices: list[JsonObject] | None = None
    responded: asyncio.Event = field(default_factory=asyncio.Event)


class Interactions:
    """All interactions whose tokens may still be used."""

    def __init__(self, world: World, stats: Stats) -> None:
        self.world = world
        self.stats = stats
        self._by_id: dict[str, Interaction] = {}
        self._by_token: dict[str, Interaction] = {}

    def start(
        self,
        kind: int,
        guild: Guild,
        channel: Channel,
        user_id: str,
        data: JsonObject,
        message: JsonObject | None = None,
    ) -> Interaction:
        """Creates an interaction and sends it to the bot.

        Args:
            data: The interaction's `data`: the command, the component or the modal.
            message: The message whose component was used, or whose component opened the modal.

        Raises:
            ApiError: 10007 if the user is not in the guild.
        """
        member = self.world.member(guild, user_id)
        made = Interaction(
            id=self.world.ids.next(), token=secrets.token_urlsafe(64), kind=kind, guild_id=guild.id,
            channel_id=channel.id, user_id=user_id, created_at=time.monotonic(), data=data,
            source_message_id=message["id"] if message else None,
        )  # fmt: skip
        self._keep(made)
        payload: JsonObject = {
            "id": made.id,
            "application_id": self.world.config.application_id,
            "type": kind,
            "token": made.token,
            "version": 1,
            "data": data,
            "guild_id": guild.id,
            "guild": {"id": guild.id, "locale": "en-US", "features": []},
            "channel_id": channel.id,
            "channel": {**channel.data, "permissions": str(guild.permissions_in(channel, user_id))},
            "member": {**member, "permissions": str(guild.permissions_in(channel, user_id))},
            "app_permissions": str(guild.permissions_in(channel, self.world.bot_id)),
            "locale": "en-US",
            "guild_locale": "en-US",
            "entitlements": [],
            "authorizing_integration_owners": {"0": guild.id},
            "context": 0,
            "attachment_size_limit": self.world.config.max_attachment_bytes,
        }
        if message is not None:
            payload["message"] = message
        self.stats.pushed(made.id)
        self.world.emit("INTERACTION_CREATE", payload, guild.id)
        return made

    def _keep(self, made: Interaction) -> None:
        if len(self._by_id) >= MAX_KEPT:
            oldest = self._by_id.pop(next(iter(self._by_id)))
            self._by_token.pop(oldest.token, None)
        self._by_id[made.id] = self._by_token[made.token] = made

    def to_respond(self, interaction_id: str, token: str) -> Interaction:
        """The interaction a callback is for.

        Raises:
            ApiError: 10062 if there is none or its time to respond is over, 40060 if it was acknowledged before.
        """
        found = self._by_id.get(interaction_id)
        if found is None or not secrets.compare_digest(found.token.encode(), token.encode()):
            raise errors.unknown("Interaction")
        if found.response_type is not None:
            raise errors.already_acknowledged()
        if time.monotonic() - found.created_at > self.world.config.interaction_response_limit_s:
            raise errors.unknown("Interaction")
        return found

    def by_token(self, token: str) -> Interaction:
        """The interaction whose followups or original message are addressed.

        Raises:
            ApiError: 10015 for a token nobody knows or that was never responded to, 50027 for an expired one.
        """
        found = self._by_token.get(token)
        if found is None or found.response_type is None:
            raise errors.unknown("Webhook")
        if time.monotonic() - found.created_at > self.world.config.interaction_token_limit_s:
            raise errors.ApiError(401, 50027, "Invalid Webhook Token")
        return found

    def get(self, interaction_id: str) -> Interaction:
        """Raises:
        ApiError: 10062.
        """
        found = self._by_id.get(interaction_id)
        if found is None:
            raise errors.unknown("Interaction")
        return found
