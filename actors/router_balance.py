"""The router's part that keeps the load of the pool even: collects figures, asks the policy, carries out what it says.

    every few seconds    ReadLoad to each worker; its guilds are asked about only when there is something to explain
    something lasts      the policy names guilds and targets; they are moved, one after the other

What is decided, and why, is in placement_policy.py; how guilds move, in router_moves.py.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from flora.actors.base import FloraActor
from flora.actors.imbalance_texts import imbalance_figures, imbalance_sentence
from flora.actors.isolate.memory_watch import machine_bytes, worker_limit_bytes
from flora.actors.lanes import GUILD_SHARE
from flora.actors.load_figures import LoadFigures
from flora.actors.placement import is_dedicated
from flora.actors.placement_policy import (
    Decision,
    GuildLoad,
    Imbalance,
    PlacementPolicy,
    Thresholds,
    WorkerLoad,
)
from flora.actors.router_places import Places
from flora.actors.router_state import RouterState
from flora.messages.base import Failed, Ok
from flora.messages.ids import GuildId, ReqId, WorkerId
from flora.messages.placement import ReadLoad
from flora.messages.settings import RuntimeSettings

log = logging.getLogger(__name__)

ANSWER_LIMIT_S = 1.0  # who takes longer to say how it is gets no more guilds until it does
SMOOTHING_SHARE = 1 / 3  # of how long an imbalance must last
MEMORY_SHARE = 0.75  # of what a worker may have; the memory watch ends isolates at the whole
LEAST_SHARE = 0.001  # of a core; less is nothing
PAUSE_S = 0.05  # between two moves
ASK_LOOKS = 4  # before something is to be decided, guilds are asked about: two give a first figure, more a smooth one
HOT_LOOK_S = 30.0  # so often guilds are asked about where one might be hot, and nothing else is the matter

Dedicate = Callable[[GuildId, Callable[[str | None], None], str], None]
"""Gives a guild a worker of its own; the text says why."""


def thresholds_of(runtime: RuntimeSettings, memory_limit_bytes: int) -> Thresholds:
    """What the settings say. memory_limit_bytes: of one worker."""
    return Thresholds(
        cpu_over_mean=runtime.rebalance_over_percent / 100,
        memory_bytes=int(memory_limit_bytes * MEMORY_SHARE),
        lasting_s=runtime.rebalance_after_s,
        cool_down_s=runtime.rebalance_cool_down_s,
        max_moves=runtime.rebalance_max_moves,
        hot_share=runtime.hot_guild_percent / 100,
    )


class Balance:
    """Knows how busy everybody is, and has guilds moved. `shell` is the router.

    Whoever changes the pool says so: `members` gives the shared workers that guilds may come to, and what `busy` holds says whether
    anything is under way that moves guilds or workers; then nothing is decided here.
    """

    def __init__(
        self, shell: FloraActor, state: RouterState, places: Places, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.members: Callable[[], Iterable[WorkerId]] = lambda: state.routes.open
        self.busy: list[Callable[[], bool]] = []
        self.dedicate: Dedicate | None = None
        self._shell = shell
        self._state = state
        self._places = places
        self._clock = clock
        self._runtime = runtime = shell.settings.runtime
        limit = worker_limit_bytes(runtime.max_worker_memory_mb, machine_bytes(), runtime.max_workers)
        self.policy = PlacementPolicy(thresholds_of(runtime, limit))
        self.figures = LoadFigures(runtime.rebalance_after_s * SMOOTHING_SHARE)
        self._was_on: dict[GuildId, WorkerId] = {}
        self._moved_at_s: dict[GuildId, float] = {}
        self._guilds_on: Counter[WorkerId] = Counter()
        self._coming: dict[WorkerId, float] = {}  # shares of a core that its figures do not show yet
        self._were_down: set[WorkerId] = set()  # at the last look
        self._to_move: deque[tuple[GuildId, WorkerId]] = deque()
        self._moving: GuildId | None = None
        self._curious = False  # the guilds are asked about at every look,
        self._may_be_hot = False  # or now and then
        self._asked, self._asked_at_s = False, float("-inf")
        self._missing = 0
        self.counts = Counter(rebalance_decisions=0, rebalance_in_vain=0, rebalance_moved=0, rebalance_not_moved=0)
        shell.after(runtime.rebalance_interval_s, self._look)

    # What others want to know

    def choose(self, guild_id: GuildId) -> WorkerId:
        """The worker for a guild that runs nowhere yet. One that has just died is back in a second, which is worth waiting for."""
        back_soon = {worker for worker in self.members() if not self._runs(worker)} - self._were_down
        loads = [replace(load, accepts=True) if load.worker in back_soon else load for load in self.loads()]
        if not self._runtime.rebalance:  # then figures decide nothing
            loads = [WorkerLoad(worker=load.worker, accepts=load.accepts) for load in loads]
        worker = self.policy.choose(guild_id, loads)
        self._guilds_on[worker] += 1  # until they are counted again
        return worker

    def spread(self, guilds: Iterable[GuildId], onto: Iterable[WorkerId]) -> dict[GuildId, WorkerId]:
        """For each guild one of these workers, none of which is its own; see `PlacementPolicy.spread`.

        What goes where is counted at once: whoever empties a worker asks many times between two looks.
        """
        loads = [self._load_of(worker) for worker in onto]
        if not any(load.accepts for load in loads):  # none has said how it is; guilds must go somewhere
            loads = [replace(load, accepts=self._runs(load.worker)) for load in loads]
        known = {guild.guild_id: self._estimated(guild) for guild in self._known(guilds)}
        targets = self.policy.spread(known.values(), loads)
        for guild_id, target in targets.items():
            self._guilds_on[target] += 1
            self._coming[target] = self._coming.get(target, 0.0) + known[guild_id].cpu_share
        return targets

    def _estimated(self, guild: GuildLoad) -> GuildLoad:
        """One of which nothing is known counts as any of its worker's: else all would go to whichever is the least busy now."""
        if guild.cpu_share:
            return guild
        share = self.figures.worker(guild.worker).cpu_share / max(1, self._guilds_on[guild.worker])
        return replace(guild, cpu_share=share)

    def loads(self) -> list[WorkerLoad]:
        """The pool as it is now."""
        return [self._load_of(worker) for worker in self.members()]

    def _load_of(self, worker: WorkerId) -> WorkerLoad:
        figures = self.figures.worker(worker)
        return WorkerLoad(
            worker=worker,
            cpu_share=figures.cpu_share + self._coming.get(worker, 0.0),
            rss_bytes=figures.rss_bytes,
            backlog=self._state.lanes.pressure_on(worker),
            guilds=self._guilds_on[worker],
            accepts=self._runs(worker) and figures.answers,
        )

    def _runs(self, worker: WorkerId) -> bool:
        end = self._state.workers.get(worker)
        return end is not None and end.address is not None

    def facts_of(self, worker: WorkerId) -> dict[str, Any]:
        """For people."""
        figures = self.figures.worker(worker)
        accepts = not is_dedicated(worker) and worker in self.members() and self._load_of(worker).accepts
        known = figures.cpu.per_s is not None
        return {"cpu_percent": round(figures.cpu_share * 100, 1) if known else None, "accepts": accepts}

    # Figures

    def _look(self) -> None:
        self._shell.after(self._runtime.rebalance_interval_s, self._look)
        if self._missing:
            return  # of the look before: the interval is short
        self._recount()
        alive = {worker: end.address for worker, end in self._state.workers.items() if end.address is not None}
        self._were_down = {worker for worker in self.members() if worker not in alive}
        self.figures.keep(set(alive))
        self._missing = len(alive)
        self._asked = self._curious or (self._may_be_hot and self._clock() - self._asked_at_s >= HOT_LOOK_S)
        if self._asked:
            self._asked_at_s = self._clock()
        for worker, address in alive.items():
            question = ReadLoad(req_id=ReqId(""), with_guilds=self._asked and not is_dedicated(worker))
            self._shell.ask(address, question, partial(self._said, worker), ANSWER_LIMIT_S)

    def _recount(self) -> None:
        """Whoever is elsewhere than at the last look has moved, by whomever."""
        lanes, now_s = self._state.lanes, self._clock()
        now_on = {guild_id: lanes[guild_id].worker for guild_id in lanes}
        for guild_id, worker in self._was_on.items():
            if now_on.get(guild_id, worker) != worker:
                self._moved_at_s[guild_id] = now_s
        self._was_on = now_on
        self._guilds_on = Counter(now_on.values())
        self._coming = {worker: share / 2 for worker, share in self._coming.items() if share > LEAST_SHARE}
        cool_down_s = self._runtime.rebalance_cool_down_s
        self._moved_at_s = {g: at_s for g, at_s in self._moved_at_s.items() if now_s - at_s < cool_down_s}

    def _said(self, worker: WorkerId, reply: Ok | Failed) -> None:
        self._missing -= 1
        if isinstance(reply, Ok):
            told = reply.value
            self.figures.said(worker, told["cpu_us"], told["rss_bytes"], told["at_us"])
            self.figures.guilds_said(worker, told["guilds"], told["at_us"])
        else:
            self.figures.silent(worker)
        if not self._missing:
            self._decide(self._clock())

    def _known(self, guilds: Iterable[GuildId] | None = None) -> list[GuildLoad]:
        """Figures of these guilds; None: of all in the pool of whom there are any."""
        shares: dict[GuildId, float] = {}
        for worker in self._state.workers:
            shares |= self.figures.guild_shares(worker)
        lanes = self._state.lanes
        return [
            GuildLoad(
                guild_id=guild_id,
                worker=lanes[guild_id].worker,
                cpu_share=shares.get(guild_id, 0.0),
                backlog=min(lanes[guild_id].backlog, GUILD_SHARE),
                memory_bytes=self.figures.guild_memory(guild_id),
                moved_at_s=self._moved_at_s.get(guild_id, float("-inf")),
                movable=self._may_move(guild_id),
            )
            for guild_id in (shares if guilds is None else guilds)
            if guild_id in lanes
        ]

    def _may_move(self, guild_id: GuildId) -> bool:
        """It serves in the pool, and nobody moves it."""
        lane = self._state.lanes.get(guild_id)
        if lane is None or lane.held or is_dedicated(lane.worker) or guild_id not in self._state.subscriptions:
            return False
        is_under_way = guild_id in self._places.moves or guild_id in self._state.unstored
        return not is_under_way and self._places.homes.get(guild_id) is None

    # Decisions

    def _decide(self, now_s: float) -> None:
        loads = self.loads()
        if self._is_busy():  # guilds are asked about all the same: whoever empties a worker wants to know
            self.policy.forget()
            self._curious = True
            return
        known = self._known() if self._asked else []
        found: tuple[Imbalance, ...] = ()
        is_moving = self._moving is not None or bool(self._to_move)
        if self._runtime.rebalance and not is_moving:
            if known:
                self._carry_out(self.policy.rebalance(loads, known, now_s), loads)
            found = self.policy.look(loads, now_s)
        if self._asked:
            for guild in self.policy.hot_guilds(known, now_s):
                self._found_hot(guild)
        share = self.policy.thresholds.hot_share
        self._may_be_hot = bool(share) and any(load.cpu_share >= share for load in loads)
        soon_s = now_s + ASK_LOOKS * self._runtime.rebalance_interval_s
        self._curious = any(each.is_due(soon_s) for each in found)
        if not self._curious and not self._may_be_hot:
            self.figures.forget_guilds()

    def _is_busy(self) -> bool:
        """Something is under way after which the load will be another."""
        return not all(map(self._runs, self.members())) or any(is_busy() for is_busy in self.busy)

    def _carry_out(self, decision: Decision, loads: Sequence[WorkerLoad]) -> None:
        for vain in decision.in_vain:
            self.counts["rebalance_in_vain"] += 1
            log.log(
                logging.INFO if vain.patience_s <= self.policy.thresholds.lasting_s else logging.DEBUG,  # once is enough
                "%s; no guild that may move would help by moving", imbalance_sentence(vain, loads),
                extra={"action": "rebalance_in_vain"} | imbalance_figures(vain, loads),
            )  # fmt: skip
        if decision.cause is not None:
            self.counts["rebalance_decisions"] += 1
            log.info(
                "%s; %d of its guilds move", imbalance_sentence(decision.cause, loads), len(decision.moves),
                extra={"action": "rebalance", "guilds": dict(decision.moves)} | imbalance_figures(decision.cause, loads),
            )  # fmt: skip
            self._to_move.extend(decision.moves)
            self._move_next()

    def _move_next(self) -> None:
        while self._to_move and self._moving is None:
            guild_id, target = self._to_move.popleft()
            if self._is_busy() or not self._may_move(guild_id) or not self._load_of(target).accepts:
                self.counts["rebalance_not_moved"] += 1
                continue
            self._moving = guild_id
            self._places.moves.start(guild_id, target, partial(self._moved, guild_id))

    def _moved(self, guild_id: GuildId, why: str | None) -> None:
        self._moving = None
        self._moved_at_s[guild_id] = self._clock()  # also where it stayed: it is not tried again at once
        self.counts["rebalance_moved" if why is None else "rebalance_not_moved"] += 1
        self.policy.forget()
        self._shell.after(PAUSE_S, self._move_next)

    def _found_hot(self, guild: GuildLoad) -> None:
        percent, guild_id = guild.cpu_share * 100, guild.guild_id
        minutes = self.policy.thresholds.hot_lasting_s / 60
        used = f"it has used {percent:.0f} % of a core for {minutes:.0f} minutes"
        more = {"action": "hot_guild", "guild_id": guild_id, "worker": guild.worker, "cpu_percent": round(percent)}
        if self._runtime.dedicate_hot_guilds and self.dedicate is not None and guild_id not in self._places.moves:
            log.warning("the guild gets a worker of its own: %s", used, extra=more)
            self.dedicate(guild_id, lambda _: None, used)
        else:
            log.warning("`flora place %s dedicated` would relieve its neighbours: %s", guild_id, used, extra=more)
