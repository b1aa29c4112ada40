"""Router ↔ worker.

Router → worker    DispatchFrame: guild events in gateway order; acknowledged by the worker's next WorkerFrame.
Worker → router    WorkerFrame: completions, subscriptions, faults; acknowledged by the router's next DispatchFrame.
Router → worker    LoadIsolate, UnloadIsolate, GiveSecrets → Ok | Failed.
Worker → router    WorkerReport: to a router that was restarted, before anything else.
Runtime → router   WorkerExited: read its flight recorder, hold its guilds until they are loaded again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from flora.messages.base import Address, Frame, Message, Request
from flora.messages.cron import CronJobState
from flora.messages.ids import GuildId
from flora.messages.secrets import NO_SECRETS, GuildSecrets


class Outcome(StrEnum):
    """Every way the run of one event can end."""

    OK = "ok"
    THREW = "threw"
    NEVER_SETTLED = "never_settled"
    NOT_A_PROMISE = "not_a_promise"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    DIED = "died"  # with its isolate or worker, through no timeout of its own
    NO_ISOLATE = "no_isolate"
    SHED = "shed"


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchFrame(Frame):
    """Events for guilds of one worker, column by column (see GatewayFrame); guild_id "" goes to every isolate."""

    seqs: tuple[int, ...]
    guild_ids: tuple[str, ...]
    names: tuple[str, ...]
    payloads: tuple[str, ...]  # JSON text
    traced: tuple[int, ...] = ()  # numbers of events in it whose every hop is written down
    received_us: int = 0  # when the gateway read the first of them, µs since the epoch; 0: not known, or nobody traces
    sent_us: int = 0


class TracedEnd(NamedTuple):
    """The end of an event that is written down. What was not traced from the start has its earlier hops written by the router."""

    seq: int
    guild_id: str
    event: str
    outcome: str
    was_traced: bool
    received_us: int  # by the gateway, about; 0: not known
    sent_us: int  # by the router
    suppressed: int = 0  # of the guild's slow and failed events that were not written down before it


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFrame(Frame):
    """What happened in a worker since its last frame."""

    done: tuple[
        tuple[int, str, str], ...
    ] = ()  # (seq, guild_id, outcome), one per event of a guild; none for broadcasts
    subscriptions: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (guild_id, every event name it handles now)
    lost: tuple[tuple[str, str], ...] = ()  # (guild_id, why): its isolate could not be rebuilt
    # (guild_id, why): its isolate does not end. Nothing else of the guild runs there; its events that are not in `done` of this or
    # an earlier frame have not started and will not. Why "": it has ended after all.
    wedged: tuple[tuple[str, str], ...] = ()
    traced: tuple[TracedEnd, ...] = ()  # of those in `done`


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReport(Message):
    """What a worker has, for a router that knows nothing. Loads that the router's predecessor had asked for are given up."""

    guilds: tuple[tuple[str, tuple[str, ...]], ...]  # (guild_id, every event name it handles), of isolates that serve
    received: tuple[tuple[str, int], ...]  # (guild_id, highest seq ever received); "": events of no guild
    unfinished: tuple[tuple[str, tuple[int, ...]], ...]  # (guild_id, seqs that are received and not done)
    frozen: tuple[tuple[str, int], ...] = ()  # (guild_id, epoch of the move), of isolates that were about to leave


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadIsolate(Request):
    """Build the guild's isolate beside the one it has; swap when it has loaded. Ok.value: {"replaced": bool, "handlers": event names,
    "heard": number of the last event of no guild that came before it served}.

    Failed: LOAD_FAILED, LOAD_TIMED_OUT, OUT_OF_MEMORY; the old isolate goes on. UNAVAILABLE: see `secrets`.
    """

    guild_id: GuildId
    script: str
    source_map: str | None
    # None: as this worker has them; where it has none, it does not load.
    secrets: GuildSecrets | None = field(default=NO_SECRETS, repr=False)
    restore: bool = False  # the script was there before: a job whose time is over does not keep it from loading
    # The guild comes from another worker, and with it its cron jobs; None: it does not, and they begin anew.
    jobs: tuple[CronJobState, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadIsolate(Request):
    """Stop the guild's isolate. Unknown guild: Ok."""

    guild_id: GuildId


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerExited(Message):
    """A worker died. Its guilds are held until PeersChanged names its successor."""

    worker_id: int
    recorder: str  # path of the dead worker's flight recorder file
    address: Address | None = None  # where it was; a router that was restarted may know its successor already
    signal: int | None = None  # which signal ended it; None: it left by itself, or that is not known
    cause: str = ""  # what is known beyond that: "" or a sentence, such as which guild used up the memory
    guilty: tuple[str, ...] = ()  # guilds that are known to have caused it
