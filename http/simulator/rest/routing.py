"""The table of REST routes and what a handler is given.

Routes are found by path segment, not by trying one pattern after another: the same template that finds the handler
also names the rate-limit bucket.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar
from urllib.parse import unquote

from flora.http.simulator import errors, shapes
from flora.http.simulator.attachments import Upload
from flora.http.simulator.errors import JsonObject
from flora.http.simulator.model import Channel, Guild
from flora.http.simulator.permissions import Permission
from flora.http.simulator.simulator import Simulator
from flora.http.simulator.snowflakes import is_snowflake


class Auth(Enum):
    """Who may call a route."""

    BOT = "bot"
    BEARER = "bearer"  # a person's OAuth2 token, or the bot
    NONE = "none"  # the path carries a token of its own


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose status is not 200 (payload) or 204 (None)."""

    status: int
    payload: Any


@dataclass(slots=True)
class Call:
    """One REST request, checked and decoded."""

    sim: Simulator
    params: dict[str, str]
    query: dict[str, str]
    body: Any  # decoded JSON; {} without a body
    uploads: list[Upload]
    user_id: str  # whose token it is; the bot's where no token is asked for
    scope: str | None  # OAuth2 scopes of a person's token; None for the bot
    reason: str | None  # for the audit log
    arrived_at: float  # time.perf_counter()

    @property
    def form(self) -> JsonObject:
        """The body where an object is needed.

        Raises:
            ApiError: 50035.
        """
        if not isinstance(self.body, dict):
            raise errors.invalid_form((), "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
        return self.body

    def guild(self, *needed: int) -> Guild:
        """The guild in the path.

        Raises:
            ApiError: 10004, or 50013 if the bot lacks one of the permissions.
        """
        guild = self.sim.world.guild(self.id("guild_id"))
        _demand(guild.permissions_of(self.user_id), needed)
        return guild

    def channel(self, *needed: int) -> Channel:
        """The channel in the path, which the bot can view.

        Raises:
            ApiError: 10003, 50001 if it cannot be viewed, 50013 if a permission is missing.
        """
        channel = self.sim.world.channel(self.id("channel_id"))
        guild = self.sim.world.guild(channel.guild_id)
        bits = guild.permissions_in(channel, self.user_id)
        if not bits & Permission.VIEW_CHANNEL:
            raise errors.missing_access()
        _demand(bits, needed)
        return channel

    def message(self, channel: Channel) -> JsonObject:
        """The message in the path. Raises 10008."""
        return self.sim.posting.message(channel, self.id("message_id"))

    def id(self, name: str) -> str:
        """An id in the path.

        Raises:
            ApiError: 50035 if it is not a snowflake.
        """
        value = self.params[name]
        if value == "@me":
            return self.user_id
        if not is_snowflake(value):
            raise errors.invalid_form((name,), "NUMBER_TYPE_COERCE", f'Value "{value}" is not snowflake.')
        return value

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A number in the query.

        Raises:
            ApiError: 50035 if it is none or out of bounds.
        """
        raw = self.query.get(name)
        if raw is None:
            return default
        if not raw.lstrip("-").isdigit():
            raise errors.invalid_form((name,), "NUMBER_TYPE_COERCE", f'Value "{raw}" is not int.')
        if not low <= int(raw) <= high:
            code = "NUMBER_TYPE_MAX" if int(raw) > high else "NUMBER_TYPE_MIN"
            bound = f"less than or equal to {high}" if int(raw) > high else f"greater than or equal to {low}"
            raise errors.invalid_form((name,), code, f"int value should be {bound}.")
        return int(raw)

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() in ("true", "1")

    def store_uploads(self, channel: Channel) -> list[JsonObject]:
        """Attachment objects of the request's files."""
        declared = self.form.get("attachments")
        return self.sim.attachments.attach(self.uploads, declared, self.sim.base_url, channel.id)

    def edited_attachments(self, channel: Channel, message: JsonObject) -> list[JsonObject] | None:
        """A message's attachments after an edit; None if the request leaves them alone."""
        declared = self.form.get("attachments")
        if declared is None and not self.uploads:
            return None
        kept_ids = {str(a.get("id")) for a in declared or [] if isinstance(a, dict)}
        kept = [a for a in message["attachments"] if declared is None or a["id"] in kept_ids]
        return kept + self.store_uploads(channel)


def _demand(bits: int, needed: tuple[int, ...]) -> None:
    for permission in needed:
        if not bits & permission:
            raise errors.missing_permissions()


def visible(messages: dict[str, JsonObject]) -> list[JsonObject]:
    """Messages that everybody in the channel sees, oldest first."""
    return [m for m in messages.values() if not m["flags"] & shapes.EPHEMERAL]


Handler = Callable[[Call], Any]
H = TypeVar("H", bound=Handler)


@dataclass(frozen=True, slots=True)
class Route:
    """One method and path template with its handler."""

    method: str
    template: str
    handler: Handler
    auth: Auth
    counts_globally: bool

    @property
    def name(self) -> str:
        return f"{self.method} {self.template}"


@dataclass(slots=True)
class _Node:
    fixed: dict[str, _Node] = field(default_factory=dict)
    variable: _Node | None = None
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)  # per method: names of the variables on the way
    routes: dict[str, Route] = field(default_factory=dict)


class Routes:
    """A table of routes; modules fill it with its decorators."""

    def __init__(self) -> None:
        self._root = _Node()

    def add(
        self, method: str, template: str, *, auth: Auth = Auth.BOT, counts_globally: bool = True
    ) -> Callable[[H], H]:
        """Registers a handler for a path such as `/channels/{channel_id}`."""

        def register(handler: H) -> H:
            node, names = self._root, []
            for segment in template.strip("/").split("/"):
                if segment.startswith("{"):
                    names.append(segment[1:-1])
                    node.variable = node.variable or _Node()
                    node = node.variable
                else:
                    node = node.fixed.setdefault(segment, _Node())
            node.routes[method] = Route(method, template, handler, auth, counts_globally)
            node.names[method] = tuple(names)
            return handler

        return register

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The route for a path and its parameters; None if there is none.

        Raises:
            ApiError: 405 if the path exists with other methods.
        """
        segments = path.strip("/").split("/")
        found = _walk(self._root, segments, 0, [], method)
        if found is None:
            if _walk(self._root, segments, 0, [], None) is not None:
                raise errors.ApiError(405, 0, "405: Method Not Allowed")
            return None
        node, values = found
        names = node.names[method]
        return node.routes[method], dict(zip(names, map(unquote, values), strict=True))


def _walk(
    node: _Node, segments: list[str], at: int, values: list[str], method: str | None
) -> tuple[_Node, list[str]] | None:
    """Fixed segments win over variable ones; a dead end goes back to the variable. No method means any."""
    if at == len(segments):
        return (node, values) if (method in node.routes if method else node.routes) else None
    fixed = node.fixed.get(segments[at])
    if fixed is not None:
        found = _walk(fixed, segments, at + 1, values, method)
        if found is not None:
            return found
    if node.variable is not None and segments[at]:
        return _walk(node.variable, segments, at + 1, [*values, segments[at]], method)
    return None
