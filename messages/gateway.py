"""Gateway ↔ router, gateway ↔ worker, gateway ↔ front-end.

Gateway → router   GatewayFrame: script events in gateway order. Router → gateway: GatewayControl, which acknowledges
                   them and says which guild wants which events.
Gateway → router   ResumePoint → Ok, before it connects; NoteSession, NotePositions: for the next gateway, should this one die.
Worker → gateway   RestFrame: REST calls of guild scripts. Gateway → worker: RestResultsFrame.
Anybody → gateway  CheckGuildAccess → Ok | Failed; FindGuilds → Ok | Failed; DescribeMember → Ok.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from flora.messages.base import Frame, Message, Request
from flora.messages.ids import GuildId, UserId

EVERYTHING = "*"
"""Event name of who wants all there is: a script that brought its own dispatcher, or one of which it is not known what it handles."""

Position = tuple[int, str, int]
"""(shard, session id, sequence number of Discord's dispatch up to which everything was taken over)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSession:
    """What it takes to resume a shard's session with Discord, and what READY said, which a resumed one does not say again."""

    shard_id: int
    shard_count: int
    session_id: str
    resume_url: str
    application_id: str
    bot_user_id: str
    guild_ids: tuple[str, ...]  # of this shard
    sequence: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumePoint(Request):
    """Where is a new gateway to go on? Ok.value: {"next_seq": lowest number for its events, "subscriptions": as in GatewayControl,
    "sessions": tuple of ShardSession that may be resumed}.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSession(Message):
    """A shard has a new session, or other guilds. `sequence` means nothing here."""

    session: ShardSession


@dataclass(frozen=True, slots=True, kw_only=True)
class NotePositions(Message):
    """How far in Discord's streams one is who has all frames sent so far; for times without events that anybody wants."""

    positions: tuple[Position, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayFrame(Frame):
    """Events, column by column: entry i of each column belongs to one event.

    Columns of plain values, because a tuple of thousands of small objects costs ten times as much to pickle.
    """

    first_seq: int  # event i has sequence number first_seq + i; no gaps; what is sent again keeps its number
    guild_ids: tuple[str, ...]  # "" for events of no guild (`ready`)
    names: tuple[str, ...]  # script event names
    payloads: tuple[str, ...]  # script payloads as JSON text, encoded once, never decoded before V8
    received_us: tuple[int, ...]  # time.time_ns() // 1000 when the gateway read it
    positions: tuple[Position, ...] = ()  # how far in Discord's streams one is who has this frame and all before it
    traced: tuple[int, ...] = ()  # numbers of events in it whose every hop is written down


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayControl(Frame):
    """What the gateway may let through: per guild, the events that its script handles."""

    subscriptions: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (guild id, event names); no names: forget the guild
    replaces_all: bool = False  # True: guilds not listed here are forgotten
    settled_below: int = 0  # events with lower numbers are done or dropped: nobody will ask for them again


@dataclass(frozen=True, slots=True, kw_only=True)
class RestFrame(Frame):
    """REST calls of guild scripts, each a plain tuple so that a batch pickles fast.

    (call_id, guild_id, method, route, scope, body, query, reason, retry)

    call_id   int, unique per worker epoch
    method    "GET" | "POST" | "PATCH" | "PUT" | "DELETE"
    route     path below the API base, ids in it: "/channels/1/messages"; "{app}" stands for the application's id
    scope     what must belong to the guild: () | (("channel", id), …) | (("guild", id),) | (("webhook", id),)
    body      JSON text or None; with files "multipart " and the JSON text {"payload", "files": [{"name", "data"}]},
              data in Base64
    query     ((key, value), …)
    reason    audit-log reason or None
    retry     True: a read, may be tried again
    """

    calls: tuple[
        tuple[
            int, str, str, str, tuple[tuple[str, str], ...], str | None, tuple[tuple[str, str], ...], str | None, bool
        ],
        ...,
    ]
    cancelled: tuple[int, ...] = ()  # call ids whose script is gone: drop what has not left
    traced: tuple[int, ...] = ()  # call ids whose times are wanted, whatever they are


class CallTiming(NamedTuple):
    """Where the time of one call went."""

    call_id: int
    came_us: int  # to the gateway, µs since the epoch
    queue_us: int  # behind other calls of its guild
    rate_limit_wait_us: int  # for Discord's rate limits, and between attempts
    discord_us: int
    status: int  # of the last answer; 0: there was none
    refused: int  # how often Discord said 429


@dataclass(frozen=True, slots=True, kw_only=True)
class RestResultsFrame(Frame):
    """(call_id, ok, json): with ok the response body as JSON text ("null" for none), else an error as JSON text.

    Error shape: {"code", "message", "discord_code"?, "status"?}; codes of script-visible errors.
    """

    results: tuple[tuple[int, bool, str], ...]
    timings: tuple[CallTiming, ...] = ()  # of calls in this or a later frame that are traced, or took long


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckGuildAccess(Request):
    """May this user administer this guild? Ok(value=None) or Failed(FORBIDDEN | BAD_REQUEST | DISCORD_…)."""

    guild_id: GuildId
    user_id: UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class FindGuilds(Request):
    """In which of these is the bot? Ok(value=tuple of those), or Failed(DISCORD_…). Guilds with an outage count."""

    guild_ids: tuple[GuildId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeMember(Request):
    """Ok(value={"username": str | None}) for the deploy history; never fails for an unknown member."""

    guild_id: GuildId
    user_id: UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenGateway(Message):
    """Runtime → gateway: connect now. Until then only REST works, which scripts need while they load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopIntake(Request):
    """Runtime → gateway at the end: take no more events; Ok when the router has been sent those that were taken. REST goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayReady(Message):
    """To Runtime: the first READY of every shard arrived; events flow."""

    application_id: str
    bot_user_id: str
    guild_ids: tuple[GuildId, ...] = ()  # where the bot is


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayFailed(Message):
    """To Runtime: Discord refused for good (token, intents, too many identifies); reconnecting would not help."""

    code: str  # of flora.messages.errors: CONFIG_ERROR, UNAVAILABLE
    message: str  # for a person: what to change


@dataclass(frozen=True, slots=True, kw_only=True)
class GuildJoined(Message):
    """To the deployer: GUILD_CREATE of an available guild."""

    guild_id: GuildId


@dataclass(frozen=True, slots=True, kw_only=True)
class GuildLeft(Message):
    """To the deployer: GUILD_DELETE that is not an outage."""

    guild_id: GuildId


@dataclass(frozen=True, slots=True, kw_only=True)
class GuildsPresent(Message):
    """To a new deployer: the guilds the bot is in. `complete`: it is in no others; what a guild did meanwhile shows only in this list."""

    guild_ids: tuple[GuildId, ...]
    complete: bool
