"""The pool of shared workers: front-end → runtime and router, runtime ↔ router.

Front-end → runtime  ScaleWorkers, DrainWorker, UndrainWorker, RecycleWorker → Ok(the operation's number) | Failed, at once.
Runtime → everybody  `Pool`, a part of `Peers`: which shared workers there are to be, and which of them are to be empty.
Router → runtime     The router makes it so. StopWorker → Ok | Failed for each worker that is too many and empty; OperationEnded.
Front-end → router   DescribePool → Ok: the last operation, and how far it is.

Runtime keeps what is wanted, so that a new router goes on where the old one died; the router finds out by itself what is left to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from flora.messages.base import Message, Request


class OperationKind(StrEnum):
    """What is done to the pool."""

    SCALE = "scale"
    DRAIN = "drain"
    UNDRAIN = "undrain"
    RECYCLE = "recycle"


class OperationState(StrEnum):
    """How it goes."""

    RUNNING = "running"
    DONE = "done"
    STUCK = "stuck"  # something does not get on; it is tried again now and then, and done when that works
    REPLACED = "replaced"  # by a later operation


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOperation:
    """One change of the pool."""

    number: int  # 1, 2, 3 … since the start of the system
    kind: OperationKind
    target: int  # SCALE: how many workers; else which one
    began_s: float  # seconds since the epoch
    automatic: bool = False  # nobody asked for it: the worker was too old or too large
    force: bool = False  # a guild that does not come to rest is ended, and started where it goes to
    fresh: tuple[int, ...] = ()  # workers that come in, and take guilds over from the others
    heir: int | None = None  # RECYCLE: the worker that takes all guilds over
    state: OperationState = OperationState.RUNNING
    ended_s: float | None = None
    text: str = ""  # how it ended, or what it is stuck at
    moved: int = 0  # guilds, when it ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Which shared workers there are to be. Any other shared worker that runs is to lose its guilds, and then to end."""

    version: int = 0  # rises with each change; 0: nothing is known
    members: tuple[int, ...] = ()  # in ascending order
    drained: tuple[int, ...] = ()  # members that are to have no guilds, by an operator's word
    operation: PoolOperation | None = None  # the last one
    up_since: tuple[tuple[int, float], ...] = ()  # worker id, seconds since the epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleWorkers(Request):
    """Have so many shared workers. Replaces whatever operation is under way. Ok.value: number of the operation.

    Failed: BAD_REQUEST (not 1…64), CONFLICT (none that stays would take guilds), UNAVAILABLE (the system starts, or ends).
    """

    count: int
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainWorker(Request):
    """Move a worker's guilds to the others, and let none come. Ok.value, Failed: as ScaleWorkers; NOT_FOUND."""

    worker_id: int
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UndrainWorker(Request):
    """Let guilds come to a drained worker again. Ok.value, Failed: as ScaleWorkers; NOT_FOUND, CONFLICT (it is not drained)."""

    worker_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecycleWorker(Request):
    """Start a fresh worker, move a worker's guilds there, end it. Ok.value, Failed: as ScaleWorkers; NOT_FOUND."""

    worker_id: int
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationEnded(Message):
    """The pool is as it is to be, or something does not get on. Of an operation that was replaced meanwhile: ignored."""

    number: int
    state: OperationState  # DONE or STUCK
    text: str
    moved: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribePool(Request):
    """Ok.value: {"members", "drained", "operation": None | {"number", "kind", "target", "automatic", "force", "state", "began_at",
    "ended_at", "text", "moved", "moving": guilds under way, "left": guilds that are to move, "loading": those of them that are being
    loaded, "starting": [worker ids],
    "waiting": [{"guild_id", "worker", "why", "tries"}]}}; times in RFC 3339.
    """
