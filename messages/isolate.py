"""Worker ↔ isolate, inside one process, in the worker's local actor system.

Worker → isolate   BootIsolate, then LoadScript → IsolateLoaded; then RunEvents, RunJob, EngineSaid, OpsAnswered, GivePlaceholders,
                   CheckDeadlines in any order;
                   ReadUsage → IsolateUsage; FreezeIsolate → IsolateFrozen; ThawIsolate; CloseIsolate at the end.
Isolate → worker   IsolateLoaded; IsolateReport after anything changed; IsolateClosed last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flora.messages.base import Message
from flora.messages.cron import CronJobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class BootIsolate(Message):
    """First message: who you are. `host` is what isolates of this process share (engine, settings, inbox)."""

    key: int  # unique per isolate in this process; a rebuilt isolate has a new engine under the same key
    guild_id: str  # "" for the default runtime
    host: Any = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadScript(Message):
    """Run the prelude, the SDK and, if given, the guild's script. Answered by IsolateLoaded."""

    script: str | None
    source_map: str | None
    placeholders: Mapping[str, str] = field(default_factory=dict)  # what `secrets.get` answers, by name; never values
    restore: bool = False  # as in LoadIsolate


@dataclass(frozen=True, slots=True, kw_only=True)
class GivePlaceholders(Message):
    """The guild's secrets have changed: `secrets.get` answers this from now on, also after the isolate has been made anew."""

    placeholders: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolateLoaded(Message):
    """`code` and `error` are None when the isolate serves."""

    key: int
    code: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvents(Message):
    """Events in order: (seq, name, payload as JSON text)."""

    events: tuple[tuple[int, str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunJob(Message):
    """One run of a cron job, behind the events that wait. Ends as a row of `jobs_done`."""

    name: str
    payload: str  # JSON text


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSaid(Message):
    """V8 has answered: the output of a dispatch, or a fault. Posted by V8's thread, passed on by the worker."""

    key: int
    generation: int  # of the engine; an answer of a closed one is dropped
    output: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class OpsAnswered(Message):
    """Results of REST calls, fetches and key-value operations: (op id, ok, JSON text of value or error)."""

    results: tuple[tuple[int, bool, str], ...]
    fetched: bool = False  # of fetches: the worker hears when they have been taken
    cost_us: int = 0  # of the worker's processor time, which the guild is to account for


@dataclass(frozen=True, slots=True, kw_only=True)
class OpsDelayed(Message):
    """A large store has to be opened first: until the answers to key-value operations come, no time passes for what waits for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckDeadlines(Message):
    """Time has passed. The worker sends this while anything runs; the isolate never watches itself."""

    now_s: float  # time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class EndForMemory(Message):
    """The worker has too much memory in use, and this isolate is the reason: end what runs and make the isolate anew."""

    why: str  # for the guild's log


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeIsolate(Message):
    """Your guild moves: as soon as nothing runs and no operation is under way, do nothing more and say IsolateFrozen. Timers of the
    script do not count. It takes events until then.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolateFrozen(Message):
    """Nothing of this isolate acts any more, until ThawIsolate."""

    key: int
    script: str = field(repr=False)
    source_map: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThawIsolate(Message):
    """Go on; or do not freeze after all. What its timers have missed becomes due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseIsolate(Message):
    """Finish what runs within the limit (0: at once), then close. Answered by IsolateClosed."""

    limit_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolateClosed(Message):
    """The isolate's engine is closed, or `wedged`: it could not be; then this comes again, without, if it ever is."""

    key: int
    wedged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolateReport(Message):
    """What came out of an isolate since its last report."""

    key: int
    done: tuple[tuple[int, str, int], ...] = ()  # (seq, outcome, elapsed_us)
    jobs_done: tuple[tuple[str, str, int], ...] = ()  # runs of cron jobs: (name, outcome, elapsed_us)
    jobs: tuple[CronJobSpec, ...] | None = None  # every cron job there is now, when that changed
    calls: tuple[tuple[Any, ...], ...] = ()  # REST calls without their call id: (op_id, method, route, scope, …)
    fetches: tuple[tuple[int, Any], ...] = field(default=(), repr=False)  # (op id, FetchRequest)
    fetches_taken: int = 0  # so many answers of fetches, in order, wait in Python no more
    kv_ops: tuple[tuple[int, str, Any], ...] = field(default=(), repr=False)  # (op id, operation, arguments), in order
    cancelled_ops: tuple[int, ...] = ()
    # op id, seq, op id, seq …: from this operation on they belong to this event (a run of a cron job: below 0), until the next pair
    op_owners: tuple[int, ...] = ()
    logs: tuple[tuple[str, str, str], ...] = ()  # (level, target, message)
    handlers: tuple[str, ...] | None = None  # every event name handled now, when that changed
    rebuilt: bool = False
    busy: bool = False  # something runs, waits or loads: deadlines are to be checked
    quiet_until_s: float = 0.0  # monotonic: while V8 is idle, no limit can be broken before; 0.0: not known
    wake_in_s: float | None = None  # the next script timer is due then; only when that changed
    lost: str | None = None  # why the isolate could not be rebuilt
    wedged: str | None = (
        None  # why its isolate does not end; nothing of it will be heard but IsolateClosed, if it does after all
    )
    unstarted: tuple[tuple[int, str, str], ...] = ()  # events it will not run any more, in order: another isolate's
    starts_no_more: bool = False  # it closes, and has handed back all events that it has not begun
    counted: tuple[tuple[str, int], ...] = ()  # (field of WorkerCounters, by how much it grew)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadUsage(Message):
    """Worker → isolate: what does your guild use? Answered by IsolateUsage."""

    with_heap: bool  # waits for V8, so for one isolate only


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolateUsage(Message):
    """As described at ReadGuildUsage."""

    key: int
    usage: dict[str, Any]
