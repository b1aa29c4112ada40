"""What the parts of the router share: who runs where, what is under way, what the gateway and the log book are to hear."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from flora.actors.lanes import Lanes, Row
from flora.actors.link import WINDOW, Link
from flora.actors.log_sender import LogSender
from flora.actors.routing import GuildRoutes
from flora.messages.base import Address, TraceContext
from flora.messages.deployment import LoadGuild
from flora.messages.gateway import EVERYTHING
from flora.messages.ids import GuildId, WorkerId

log = logging.getLogger(__name__)

MAX_FRAME_ROWS = 1024
MAX_CONTROL_ROWS = (
    1 << 20
)  # all subscriptions fit: a frame that replaces all but holds some would forget the rest for a moment

BROADCASTS_KEPT = 64  # one per shard and connection

Subscription = tuple[str, tuple[str, ...]]


@dataclass(slots=True)
class WorkerEnd:
    """What the router knows of one worker."""

    address: Address | None  # None: it does not run now
    link: Link[Row]
    knows_us: bool = True  # False: it still has to hear of this router, and would ignore its frames
    heard: int = 0  # number of the last event of no guild before it was met
    parked: list[tuple[LoadGuild, Address]] = field(default_factory=list)  # loads that came while it was down
    death: TraceContext | None = None  # what its last death led to belongs to this


class RouterState:
    """Memory only. Everything happens on the router's thread."""

    def __init__(self, epoch: str, pool: int) -> None:
        """Knows nobody yet.

        Args:
            epoch: Of this router; new for each life.
            pool: Number of shared workers.
        """
        self._epoch = epoch
        self.lanes = Lanes()
        self.routes = GuildRoutes(pool)
        self.workers: dict[WorkerId, WorkerEnd] = {}
        self._worker_of: dict[str, WorkerId] = {}  # by the epoch of its link: comparing addresses takes 10 µs
        self.subscriptions: dict[GuildId, tuple[str, ...]] = {}
        self._unheard: set[GuildId] = set()  # guilds that ran before this router did, and have not been loaded again
        self.gateway: Link[Subscription] = Link(epoch, MAX_CONTROL_ROWS)
        self.logs = LogSender(epoch)
        self.unstored: set[GuildId] = set()  # run a script, or load one, that the deployer has not said is stored
        self.on_forget: Callable[[GuildId], None] = lambda guild_id: None  # whoever moves it has nothing to move
        self.on_lost: Callable[[tuple[Row, ...]], None] = lambda rows: None  # they waited for a guild that is forgotten
        self._told_no_isolate: set[str] = set()
        self._broadcasts: deque[Row] = deque(maxlen=BROADCASTS_KEPT)

    def meet(self, worker: WorkerId, address: Address | None) -> WorkerEnd:
        """A worker that was not known before."""
        end = self.workers[worker] = WorkerEnd(address, Link(self._epoch, MAX_FRAME_ROWS, window=WINDOW))
        end.heard = self.last_broadcast
        return end

    @property
    def last_broadcast(self) -> int:
        """Number of the last event of no guild; 0: there was none."""
        return self._broadcasts[-1][0] if self._broadcasts else 0

    def worker_at(self, address: Address, epoch: str = "") -> tuple[WorkerId, WorkerEnd | None]:
        """The living worker with this address; (-1, None) when there is none. epoch: of its link, where known; so it is found at once."""
        known = self._worker_of.get(epoch, WorkerId(-1))
        if known in self.workers and self.workers[known].address == address:
            return known, self.workers[known]
        for worker, end in self.workers.items():
            if end.address == address:
                if epoch:
                    self._worker_of = {e: w for e, w in self._worker_of.items() if w != worker} | {epoch: worker}
                return worker, end
        return WorkerId(-1), None

    def note_broadcast(self, row: Row) -> None:
        """An event of no guild goes to every worker; a guild between two workers may hear of it in neither."""
        self._broadcasts.append(row)

    def broadcasts_between(self, after: int, upto: int) -> list[Row]:
        """Those with a number above the one and not above the other."""
        return [row for row in self._broadcasts if after < row[0] <= upto]

    def subscribe(self, worker: WorkerId, guild_id: GuildId, names: tuple[str, ...]) -> None:
        """Notes what a guild's script handles, and has the gateway told."""
        if guild_id in self.lanes and self.lanes[guild_id].worker != worker:
            return  # it has moved on
        if guild_id not in self.lanes:  # only after a restart of this router: the worker knows the guild, we do not
            self.routes.assign(guild_id, worker)
            self.lanes.open(guild_id, worker, held=False)
        self.subscriptions[guild_id] = names
        self._unheard.discard(guild_id)
        self._told_no_isolate.discard(guild_id)
        self.gateway.offer((guild_id, names))

    def listen_to_all(self, guild_id: GuildId) -> None:
        """The guild is being loaded again, and what its script handles is not known: until it is, the gateway must not stop its events."""
        self._unheard.add(guild_id)
        self.gateway.offer((guild_id, (EVERYTHING,)))

    def wanted_events(self) -> tuple[Subscription, ...]:
        """All that the gateway is to let through."""
        unheard = self._unheard - self.subscriptions.keys()
        return (*self.subscriptions.items(), *((guild_id, (EVERYTHING,)) for guild_id in unheard))

    def forget(self, guild_id: GuildId) -> None:
        """The guild has nothing that runs any more: its events stop at the gateway."""
        lane = self.lanes.get(guild_id)
        if lane is not None and lane.waiting:
            self.on_lost(tuple(lane.waiting))
        self.lanes.close(guild_id)
        self.routes.forget(guild_id)
        self.unstored.discard(guild_id)
        if self.subscriptions.pop(guild_id, None) is not None or guild_id in self._unheard:
            self.gateway.offer((guild_id, ()))
        self._unheard.discard(guild_id)
        self.on_forget(guild_id)

    def why_held(self, guild_id: GuildId) -> str:
        """What a guild's events wait for; its lane is held or gated, or earlier ones wait."""
        lane = self.lanes[guild_id]
        if lane.gated:
            return "the guild is moving to another worker"
        if self.workers[lane.worker].address is None:
            return f"worker {lane.worker} is being started again"
        return "the guild's script is being loaded" if lane.held else "earlier events of the guild wait"

    def tell_not_sent(self, guild_id: str, name: str, trace_id: str) -> None:
        """Says, once per guild or burst, that an event was not let through."""
        guild = GuildId(guild_id)
        if guild not in self.lanes:
            if guild_id not in self._told_no_isolate:
                self._told_no_isolate.add(guild_id)
                log.info(
                    "event dropped: guild has no script",
                    extra={"guild_id": guild_id, "event": name, "trace_id": trace_id},
                )
        elif self.lanes[guild].shedding == 1:
            self.logs.line("warn", guild_id, f"events are being dropped: too many are waiting ({name} first)")
