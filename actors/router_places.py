"""The router's part that decides where guilds run: the pool, or a worker of their own.

Quarantine   a worker dies by V8's hand, or an isolate does not end → the suspects get a worker each; their neighbours are loaded again
             in the pool. The suspect's waiting events wait until its script is loaded there, and follow in order.
Own worker   dies → it is started again with the pauses of REBUILDS; after too many loads that came to nothing it is stopped and the
             guild has FAILED: its events are dropped, the next deployment brings it back.
Return       a deployment of a quarantined guild that stays healthy through the probation → moved back to the pool.
Pins         an operator's word (router_pins.py), or `runtime.placement`. Isolates that do not end: router_wedges.py.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping

from flora.actors.audit_sender import AuditSender
from flora.actors.base import FloraActor
from flora.actors.placement import Home, Homes, Judge, Stage, Verdict, is_dedicated
from flora.actors.router_loads import Loads
from flora.actors.router_moves import Moves
from flora.actors.router_state import RouterState, WorkerEnd
from flora.messages.base import Failed, Ok
from flora.messages.deployment import DeployActor, LoadGuild
from flora.messages.dispatch import Outcome, WorkerExited
from flora.messages.errors import WorkerGone
from flora.messages.ids import GuildId, ReqId, WorkerId
from flora.messages.placement import NotePlacement, Placement, StartWorker, StopWorker

log = logging.getLogger(__name__)

START_LIMIT_S = 45.0  # Runtime's own limit is shorter, and its answer says more
RETURN_AGAIN_S = 30.0
ORPHAN_LIMIT_S = 60.0  # a dedicated worker that no guild claims after a router's restart is of no use
CONFIGURED = "runtime.placement"
SYSTEM = DeployActor(kind="system")


class Places:
    """Homes of guilds and what happens to them. `shell` is the router."""

    def __init__(self, shell: FloraActor, state: RouterState, loads: Loads) -> None:
        self._shell = shell
        self._state = state
        self._loads = loads
        self.homes = Homes()
        self.moves = Moves(shell, state, self)
        self.choose: Callable[[GuildId], WorkerId] = state.routes.default
        self.failed: dict[GuildId, tuple[str, float]] = {}  # guilds of the pool: why, since when (epoch)
        self.deaths: dict[WorkerId, int] = {}
        self.total_deaths = 0
        self.audit = AuditSender(shell)
        self._judge = Judge()
        self._rng = random.Random()
        self._remembered: dict[GuildId, tuple[Placement, str, float]] = {}
        loads.places = self
        shell.after(ORPHAN_LIMIT_S, self._stop_orphans)

    # What is known about guilds

    def remember(self, noted: Iterable[tuple[GuildId, Placement, str, float]]) -> None:
        """What the deployer has noted, see `ReadPlacements`."""
        for guild_id, placement, reason, since_s in noted:
            self._remembered[guild_id] = (placement, reason, since_s)
            home = self.home(guild_id)
            if home is not None and placement is not Placement.SHARED:
                home.placement, home.reason, home.since_s = placement, reason, since_s

    def home(self, guild_id: GuildId) -> Home | None:
        """The guild's home; one that was there before this router is found by its route."""
        home = self.homes.get(guild_id)
        if home is None and guild_id in self._state.routes:
            worker = self._state.routes.lookup(guild_id)
            if is_dedicated(worker) and guild_id not in self.moves:
                placement, reason, since_s = self._noted(guild_id) or (Placement.DEDICATED, "", time.time())
                home = Home(guild_id, placement, reason, since_s, worker, Stage.SERVING)
                self.homes.adopt(home)
        return home

    def _noted(self, guild_id: GuildId) -> tuple[Placement, str, float] | None:
        noted = self._remembered.get(guild_id)
        return noted if noted is not None and noted[0] is not Placement.SHARED else None

    def note(self, guild_id: GuildId, placement: Placement | None, reason: str) -> None:
        """Has where a guild is to run remembered; None: wherever the configuration says."""
        if placement is None:
            self._remembered.pop(guild_id, None)
        else:
            self._remembered[guild_id] = (placement, reason, time.time())
        self._shell.tell(
            self._shell.peers.deployer, NotePlacement(guild_id=guild_id, placement=placement, reason=reason)
        )

    def default(self, guild_id: GuildId) -> tuple[Placement, str, float]:
        """Where a guild without a home belongs, why, and since when."""
        noted = self._remembered.get(guild_id)
        if noted is not None:
            return noted
        placement = self._shell.settings.runtime.placement
        return placement, CONFIGURED if placement is Placement.DEDICATED else "", time.time()

    # Loads

    def worker_for(self, msg: LoadGuild) -> WorkerId:
        """The worker that is to load a guild; one of its own is started if it does not run."""
        home = self.home(msg.guild_id)
        if home is None and not self._has_served(msg.guild_id) and msg.guild_id not in self.moves:
            placement, reason, since_s = self.default(msg.guild_id)
            if placement is Placement.SHARED and msg.placement not in (None, Placement.SHARED):
                placement = msg.placement or placement
            lane = self._state.lanes.get(msg.guild_id)
            if placement is not Placement.SHARED and (lane is None or (lane.held and not lane.unfinished)):
                home = self.homes.add(msg.guild_id, placement, reason, since_s, self._state.workers)
                self._settle(home)
                self._start(home)
        if home is None:
            worker, is_new = self._state.routes.claim(msg.guild_id, self.choose)
            self._state.lanes.open(msg.guild_id, worker, held=is_new)
            return worker
        if home.stage is Stage.FAILED or (home.stage is Stage.RESTING and not msg.restore):
            self._shell.cancel_timer(home.timer)
            self._settle(home)
            self._start(home)
        return self._state.routes.lookup(msg.guild_id)

    def _settle(self, home: Home) -> None:
        """Makes lane and route lead to the home; its worker need not run yet."""
        if home.worker not in self._state.workers:
            self._state.meet(home.worker, None)
        self._state.routes.assign(home.guild_id, home.worker)
        lane = self._state.lanes.open(home.guild_id, home.worker, held=True)
        if lane.worker != home.worker:
            self._state.lanes.move(home.guild_id, home.worker)

    def loaded(self, msg: LoadGuild) -> None:
        """A guild serves; its lane has been released."""
        guild_id = msg.guild_id
        self.failed.pop(guild_id, None)
        home = self.home(guild_id)
        if home is not None and home.worker == self._state.routes.lookup(guild_id):
            home.loaded(time.monotonic(), deployed=not msg.restore)
            if not msg.restore and home.placement is Placement.QUARANTINED:
                self._begin_probation(home)

    def arrived(self, guild_id: GuildId) -> None:
        """A guild serves where it was moved to."""
        self.failed.pop(guild_id, None)
        home = self.homes.get(guild_id)
        if home is not None and home.worker == self._state.routes.lookup(guild_id):
            home.loaded(time.monotonic(), deployed=False)

    def arrives_otherwise(self, guild_id: GuildId) -> bool:
        """The guild is between two workers, and need not be loaded because one of them died."""
        return self.moves.is_held_by_a_move(guild_id)

    def rebuild(self, guild_id: GuildId, why: str) -> None:
        """A guild is nowhere, its lane is held: it is loaded from its deployment, at once or when its worker is back."""
        home, lane = self.homes.get(guild_id), self._state.lanes.get(guild_id)
        if lane is None:
            return
        if home is not None and home.worker == lane.worker:
            self._try_again(home, why)
        elif self._state.workers[lane.worker].address is not None:
            self._loads.reload((guild_id,))

    def is_loading(self, guild_id: GuildId) -> bool:
        """A script of the guild is being loaded."""
        return self._loads.is_loading(guild_id)

    def stores_move_to(self, guild_id: GuildId, worker: WorkerId) -> None:
        """This worker is to have the guild's key-value stores."""
        self._loads.kv.moves_to(guild_id, worker)

    def load_failed(self, msg: LoadGuild, failed: Failed) -> bool:
        """A load came to nothing. True: what becomes of the guild is settled here."""
        home = self.home(msg.guild_id)
        lane = self._state.lanes.get(msg.guild_id)
        if home is None or lane is None or lane.worker != home.worker:
            return False
        if failed.code == WorkerGone.code or not lane.held:
            return True  # its worker's death is handled as such; or the old isolate serves
        if not msg.restore and not self._has_served(msg.guild_id) and home.stage is not Stage.FAILED:
            self._drop(home)  # a first deployment that does not load: there is nothing to run
            return True
        self._try_again(home, failed.message)
        return True

    def not_reloaded(self, guild_id: GuildId, why: str) -> bool:
        """The deployer could not bring a guild back. True: what becomes of it is settled here."""
        home = self.homes.get(guild_id)
        if home is None:
            return False
        if home.stage in (Stage.STARTING, Stage.LOADING):
            self._try_again(home, why)
        return True

    def _has_served(self, guild_id: GuildId) -> bool:
        return guild_id in self._state.subscriptions

    def lost(self, worker: WorkerId, guild_id: GuildId, why: str) -> None:
        """A worker gave a guild up: its isolate cannot be made anew there."""
        home = self.home(guild_id)
        if home is not None:
            self._fail(home, why)
            return
        self.moves.forget(guild_id, why)
        self.failed[guild_id] = (why, time.time())
        self._state.forget(guild_id)

    def unloaded(self, guild_id: GuildId) -> None:
        """A guild's script is to run no more."""
        self.moves.forget(guild_id, "its script was unloaded meanwhile")
        self.failed.pop(guild_id, None)
        home = self.homes.remove(guild_id)
        if home is not None:
            self._stop_worker(home)

    # Workers that die

    def worker_exited(self, worker: WorkerId, exited: WorkerExited, busy_s: Mapping[str, float]) -> Verdict:
        """Judges a worker's death; the lanes of its guilds are held already. Guilds that are to blame get homes."""
        self.deaths[worker] = self.deaths.get(worker, 0) + 1
        self.total_deaths += 1
        verdict = self._judged(worker, exited, busy_s)
        self.moves.worker_died(worker)
        return verdict

    def _judged(self, worker: WorkerId, exited: WorkerExited, busy_s: Mapping[str, float]) -> Verdict:
        here = {*self._state.lanes.of_worker(worker), *self.moves.arriving_at(worker)}
        busy_here = {GuildId(guild_id): taken for guild_id, taken in busy_s.items() if guild_id in here}
        if is_dedicated(worker):
            home = self.homes.of_worker(worker)
            verdict = self._judge.judge(exited, busy_here, time.monotonic())
            if home is not None:
                self._own_worker_died(home, verdict.cause)
            return Verdict((), verdict.cause)
        verdict = self._judge.judge(exited, busy_here, time.monotonic())
        guilty = tuple(guild_id for guild_id in verdict.guilty if guild_id in here)
        log.error(
            "worker %d died: %s", worker, verdict.cause,
            extra={"action": "worker_judged", "guilty": guilty, "busy": len(busy_here)},
        )  # fmt: skip
        for guild_id in guilty:
            self.quarantine(guild_id, verdict.cause)
        return Verdict(guilty, verdict.cause)

    def quarantine(self, guild_id: GuildId, reason: str) -> None:
        """Gives a guild whose lane is held, with nothing under way, a worker of its own."""
        self.moves.forget(guild_id, reason)  # it may have been leaving, or arriving, when it happened
        lane = self._state.lanes.get(guild_id)
        source = None if lane is None else lane.worker
        before = self.homes.remove(guild_id)
        if before is not None:
            self._stop_worker(before)
        home = self.homes.add(guild_id, Placement.QUARANTINED, reason, time.time(), self._state.workers)
        log.warning("guild quarantined: %s", reason, extra={"action": "quarantined", "guild_id": guild_id})
        self.tell(
            guild_id,
            "error",
            f"{reason}; the script now runs in quarantine, in a process of its own, until a new deployment stays healthy",
        )
        self.note(guild_id, Placement.QUARANTINED, reason)
        self._record("guild.quarantine", guild_id, home.worker, why=reason, source=source)
        self._settle(home)
        if not self._has_served(guild_id) and self._loads.is_first_deploy(guild_id):
            self._fail(home, "its script ended the worker while it loaded")
        else:
            self._start(home)

    def _own_worker_died(self, home: Home, cause: str) -> None:
        lane = self._state.lanes.get(home.guild_id)
        if lane is None or lane.worker != home.worker:
            return  # it has left already, or has not come yet
        if self.moves.is_held_by_a_move(home.guild_id):
            return  # frozen here, it goes on there; or the move says that it is lost
        self.moves.forget(home.guild_id, f"{cause} before the guild had left")
        self._try_again(home, cause)

    def _try_again(self, home: Home, why: str) -> None:
        """Loads a guild again in its own worker after a pause, or gives it up."""
        was_probation = home.probation
        pause_s = home.ended(time.monotonic(), self._rng)
        if was_probation:
            self.tell(home.guild_id, "warn", f"the script stays in quarantine: {why}")
        if pause_s is None:
            self._fail(home, why)
            return
        self._state.lanes.hold(home.guild_id)
        log.warning(
            "trying again in %.1f s: %s", pause_s, why,
            extra={"action": "rebuild_later", "guild_id": home.guild_id, "failed_loads": home.rebuilds.failed_loads},
        )  # fmt: skip
        if pause_s >= 1:
            self.tell(home.guild_id, "warn", f"{why}; the script is started again in {pause_s:.0f} s")
        home.timer = self._shell.after(pause_s, lambda: self._start(home))

    def _fail(self, home: Home, why: str) -> None:
        """The guild is given up until its next deployment."""
        home.stage = Stage.FAILED
        home.probation = 0
        log.error("guild FAILED: %s", why, extra={"action": "guild_failed", "guild_id": home.guild_id})
        self.tell(home.guild_id, "error", f"{why}; the script is not started any more. A new deployment brings it back")
        self.moves.forget(home.guild_id, why)
        self._state.forget(home.guild_id)
        self._stop_worker(home)

    # Their workers

    def _start(self, home: Home) -> None:
        if self.homes.get(home.guild_id) is not home:
            return
        end = self._state.workers[home.worker]
        if end.address is not None:  # only its script ended
            self._serves_again(home, end)
            return
        home.stage = Stage.STARTING
        request = StartWorker(req_id=ReqId(""), worker_id=home.worker, guild_id=home.guild_id)
        self._shell.ask(self._shell.peers.runtime, request, lambda reply: self._started(home, reply), START_LIMIT_S)

    def _started(self, home: Home, reply: Ok | Failed) -> None:
        if self.homes.get(home.guild_id) is not home or home.stage is not Stage.STARTING:
            self._stop_unclaimed(home.worker)
            return
        end = self._state.workers[home.worker]
        if isinstance(reply, Failed) or end.address is None:
            why = reply.message if isinstance(reply, Failed) else "its worker died at once"
            self._try_again(home, why)
            return
        self._serves_again(home, end)

    def _serves_again(self, home: Home, end: WorkerEnd) -> None:
        home.stage = Stage.LOADING
        self._loads.worker_is_back(home.worker, end)

    def worker_is_back(self, worker: WorkerId, end: WorkerEnd) -> None:
        """A worker was started again. Dedicated ones go on when Runtime has answered."""
        if not is_dedicated(worker):
            self._loads.worker_is_back(worker, end)

    def _stop_worker(self, home: Home) -> None:
        self._shell.cancel_timer(home.timer)
        self._stop_unclaimed(home.worker)

    def _stop_unclaimed(self, worker: WorkerId) -> None:
        """Ends a dedicated worker that is nobody's home."""
        home = self.homes.of_worker(worker)
        if home is not None and home.stage is not Stage.FAILED:
            return
        end = self._state.workers.pop(worker, None)
        for request, asker in end.parked if end is not None else ():
            self._shell.send(asker, WorkerGone("the worker was stopped").as_failed(request.req_id))
        self.deaths.pop(worker, None)
        self._shell.tell(self._shell.peers.runtime, StopWorker(req_id=ReqId(""), worker_id=worker))

    def _drop(self, home: Home) -> None:
        self.homes.remove(home.guild_id)
        self._state.forget(home.guild_id)
        self._stop_worker(home)

    def drop_unused(self, home: Home) -> None:
        """A home that its guild never came to."""
        if self.homes.get(home.guild_id) is home:
            self.homes.remove(home.guild_id)
        self._stop_worker(home)

    def _stop_orphans(self) -> None:
        """After a router's restart: guilds whose isolate had died there have been loaded elsewhere meanwhile."""
        for guild_id in self._state.lanes:
            self.home(guild_id)
        for worker in [worker for worker in self._state.workers if is_dedicated(worker)]:
            if self.homes.of_worker(worker) is None:
                log.warning("worker %d is of no use", worker, extra={"action": "orphan_stopped"})
                self._stop_unclaimed(worker)

    # Probation and return

    def outcomes(self, worker: WorkerId, done: Iterable[tuple[int, str, str]]) -> None:
        """What events in a dedicated worker came to: running out of memory ends a probation."""
        home = self.homes.of_worker(worker)
        if home is None or not home.probation:
            return
        if any(outcome == Outcome.OUT_OF_MEMORY for _, _, outcome in done):
            home.probation = 0
            self.tell(home.guild_id, "warn", "the script stays in quarantine: it ran out of memory")

    def _begin_probation(self, home: Home) -> None:
        limit_s = self._shell.settings.runtime.quarantine_probation_s
        home.probation = number = self._shell.after(limit_s, lambda: self._probation_over(home, number))
        log.info("probation begins", extra={"action": "probation", "guild_id": home.guild_id, "limit_s": limit_s})
        self.tell(
            home.guild_id,
            "info",
            f"the new deployment runs in quarantine; if it stays healthy for {limit_s:g} s, it leaves it",
        )

    def _probation_over(self, home: Home, number: int) -> None:
        if self.homes.get(home.guild_id) is home and home.probation == number and home.stage is Stage.SERVING:
            self.release(home, lambda why: self._returned(home, number, why))

    def _returned(self, home: Home, number: int, why: str | None) -> None:
        if why is None:
            self.tell(home.guild_id, "info", "the script stayed healthy and has left quarantine")
        elif self.homes.get(home.guild_id) is home and home.probation == number:
            self._shell.after(RETURN_AGAIN_S, lambda: self._probation_over(home, number))

    def release(self, home: Home, then: Callable[[str | None], None]) -> None:
        """Lets a guild go back to where it belongs by the configuration."""
        if self._shell.settings.runtime.placement is Placement.DEDICATED:
            home.placement, home.reason, home.since_s = Placement.DEDICATED, CONFIGURED, time.time()
            self.note(home.guild_id, None, "")
            then(None)
            return
        self.to_pool(home, lambda why: self._note_returned(home, why, then))

    def _note_returned(self, home: Home, why: str | None, then: Callable[[str | None], None]) -> None:
        if why is None:
            self.note(home.guild_id, None, "")
        then(why)

    def to_pool(self, home: Home, then: Callable[[str | None], None]) -> None:
        """Moves a serving guild from its own worker into the pool, and ends that worker."""

        target = self.choose(home.guild_id)

        def moved(why: str | None) -> None:
            if why is None and self.homes.get(home.guild_id) is home:
                self.homes.remove(home.guild_id)
                self._stop_worker(home)
                if home.placement is Placement.QUARANTINED:
                    self._record("guild.unquarantine", home.guild_id, target, source=home.worker)
            then(why)

        self.moves.start(home.guild_id, target, moved)

    def _record(self, action: str, guild_id: GuildId, target: WorkerId, **details: object) -> None:
        """A line in the audit log: nobody asked for it but flora itself."""
        self.audit.record(guild_id, SYSTEM, action, f"worker {target}", details)

    def tell(self, guild_id: GuildId, level: str, text: str) -> None:
        """A line for the guild's author."""
        self._state.logs.line(level, guild_id, text)
