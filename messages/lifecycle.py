"""Runtime ↔ every actor. Start → Ok when it serves; PeersChanged at any time; Drain → Ok; then the library's ActorExitRequest."""

from __future__ import annotations

from dataclasses import dataclass, field

from flora.messages.base import Address, Message, Request
from flora.messages.dispatch import WorkerExited
from flora.messages.ids import GuildId
from flora.messages.pool import Pool
from flora.messages.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """Where the others are. None: not started yet, or being restarted."""

    runtime: Address | None = None
    router: Address | None = None
    gateway: Address | None = None
    http: Address | None = None
    deployer: Address | None = None
    compiler: Address | None = None
    log_book: Address | None = None
    cron: Address | None = None
    workers: tuple[tuple[int, Address], ...] = ()
    pool: Pool = field(default_factory=Pool)  # which shared workers there are to be


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Request):
    """First message to every actor. Ok.value: plain facts for the boot log (the front-end: {"port": int})."""

    settings: Settings
    peers: Peers
    name: str  # "worker 0": names the process "flora: worker 0"
    worker_id: int | None = None
    dedicated_to: GuildId | None = None  # a worker for this guild alone
    again: bool = False  # takes the place of one that died
    deaths: tuple[WorkerExited, ...] = ()  # for a router: workers that died lately, also those its predecessor knew of


@dataclass(frozen=True, slots=True, kw_only=True)
class PeersChanged(Message):
    """An actor was started or restarted; links to its old address are dead."""

    peers: Peers


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain(Request):
    """Take nothing new, finish what runs, within `limit_s`; then Ok, also when something had to be abandoned."""

    limit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeSystem(Request):
    """To Runtime. Ok.value: {"ready": bool, "stage": str, "actors": {name: {"state", "pid", "restarts"}}}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadMetrics(Request):
    """To any actor: what it counts. Ok.value: see `flora.messages.metrics`. The router asks its workers, too."""

    notable: int = 0  # of router and workers: about so many guilds as well


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareStorage(Request):
    """Runtime → preparer: bring the database to this version's schema, or wait until the cache answers."""

    what: str  # database, cache


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemStage(Message):
    """Runtime → front-end, whenever one of these changes: how far the boot is, or that the end has begun."""

    stage: str
    ready: bool = False
    storage_ready: bool = False  # the database has this version's schema: callers can be looked up
    progress: tuple[tuple[str, int], ...] = ()  # "step" of "steps"; while deployments are restored, how many


@dataclass(frozen=True, slots=True, kw_only=True)
class BootProgress(Message):
    """Runtime → launcher while it boots: one line for a person."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FatalError(Message):
    """Any actor → runtime, runtime → launcher: going on makes no sense. `text` says what to do."""

    text: str
