"""A worker's part in the move of a guild that leaves it; the whole of it is described in messages/migration.py.

    MoveOut → the isolate comes to rest, and is frozen → its stores are closed → it is handed over → DropFrozen, or ThawGuild

While the guild comes to rest its isolate serves as usual, but no cron run begins. Frozen it serves nobody: no event, no timer, no job
reaches it. It is kept until the router says what becomes of it: the guild must neither be served twice nor be lost when the target
refuses it. Where nobody ever says, it is closed: by then the guild has been loaded from its deployment.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from flora.actors.base import FloraActor
from flora.actors.guild_secrets.book import SecretBook
from flora.actors.kv.service import KvService
from flora.actors.worker_cron import WorkerCron
from flora.actors.worker_isolates import Isolates, Resident
from flora.messages.base import Address
from flora.messages.cron import CronJobState
from flora.messages.errors import FloraError, NotFound, TimedOut, Unavailable
from flora.messages.ids import GuildId
from flora.messages.isolate import FreezeIsolate, IsolateFrozen, ThawIsolate
from flora.messages.migration import MoveOut, MovingGuild, ThawGuild

log = logging.getLogger(__name__)

FROZEN_LIMIT_S = (
    600.0  # longer than any load on the other side takes; with no limit on loads, long enough to be given up
)


@dataclass(slots=True, eq=False)
class _Leaving:
    """A guild that comes to rest."""

    request: MoveOut
    asker: Address
    resident: Resident
    since_s: float
    timer: int = 0


@dataclass(slots=True, eq=False)
class _Frozen:
    """A guild that has been, or is about to be, handed over."""

    epoch: int
    resident: Resident
    jobs: tuple[CronJobState, ...]
    timer: int = 0


class WorkerMoves:
    """Guilds that leave. `shell` is the worker: it answers and has timers."""

    def __init__(
        self,
        shell: FloraActor,
        isolates: Isolates,
        cron: WorkerCron,
        kv: KvService,
        secrets: SecretBook,
        settle: Callable[[], None],
        heard: Callable[[], int],
    ) -> None:
        """
        Args:
            settle: Takes in at once what isolates have said.
            heard: Number of the last event of no guild that came to this worker.
        """
        self._shell = shell
        self._isolates = isolates
        self._cron = cron
        self._kv = kv
        self._secrets = secrets
        self._settle = settle
        self._heard = heard
        self._leaving: dict[str, _Leaving] = {}
        self._frozen: dict[str, _Frozen] = {}
        isolates.on_change = self.changed

    # The way out

    def out(self, msg: MoveOut, asker: Address) -> None:
        """Answered when the guild is frozen and its stores are closed, or stays."""
        guild_id = msg.guild_id
        self._stay(guild_id, Unavailable("another move of the guild has begun"))
        resident = self._isolates.serving.get(guild_id)
        if resident is None:
            gone = NotFound("guild runtime not loaded on worker", guild_id=guild_id)
            self._shell.reply_failed(msg, asker, gone)
            return
        leaving = self._leaving[guild_id] = _Leaving(msg, asker, resident, time.monotonic())
        self._cron.jobs.pause(guild_id)
        self._isolates.tell(resident, FreezeIsolate())
        self._settle()
        if self._leaving.get(guild_id) is leaving and msg.limit_s:
            leaving.timer = self._shell.after(msg.limit_s, lambda: self._out_of_time(leaving))

    def _out_of_time(self, leaving: _Leaving) -> None:
        if self._leaving.get(leaving.request.guild_id) is leaving:
            guild_id = leaving.request.guild_id
            self._stay(guild_id, TimedOut("migration_quiesce timed out", guild_id=guild_id))

    def _stay(self, guild_id: str, why: FloraError) -> None:
        """The guild goes on here, if it was about to leave."""
        leaving = self._leaving.pop(guild_id, None)
        if leaving is None:
            return
        self._shell.cancel_timer(leaving.timer)
        self._isolates.tell(leaving.resident, ThawIsolate())
        self._cron.resume(guild_id)
        self._shell.reply_failed(leaving.request, leaving.asker, why)

    def frozen(self, message: IsolateFrozen) -> None:
        """An isolate has come to rest, and does nothing more."""
        resident = self._isolates.residents.get(message.key)
        if resident is None:
            return
        leaving = self._leaving.get(resident.guild_id)
        if leaving is None or leaving.resident is not resident:
            self._isolates.tell(resident, ThawIsolate())
            return
        guild_id = GuildId(resident.guild_id)
        self._shell.cancel_timer(leaving.timer)
        del self._leaving[guild_id]
        self._isolates.take_out(resident)
        jobs = self._cron.jobs.export(guild_id)
        self._cron.drop(guild_id)
        frozen = self._frozen[guild_id] = _Frozen(leaving.request.epoch, resident, jobs)
        frozen.timer = self._shell.after(FROZEN_LIMIT_S, lambda: self.drop(guild_id, frozen.epoch))
        moving = MovingGuild(
            script=message.script,
            source_map=message.source_map,
            jobs=jobs,
            secrets=self._secrets.export(guild_id),
            heard=self._heard(),
            quiesce_us=int((time.monotonic() - leaving.since_s) * 1e6),
        )
        self._kv.release(guild_id, lambda: self._hand_over(leaving, frozen, moving))

    def _hand_over(self, leaving: _Leaving, frozen: _Frozen, moving: MovingGuild) -> None:
        guild_id = leaving.request.guild_id
        if self._frozen.get(guild_id) is frozen:
            self._shell.reply_ok(leaving.request, leaving.asker, moving)
        else:
            over = Unavailable("the move has been given up meanwhile", guild_id=guild_id)
            self._shell.reply_failed(leaving.request, leaving.asker, over)

    # What becomes of it

    def thaw(self, msg: ThawGuild, asker: Address) -> None:
        """The guild goes on here."""
        guild_id = msg.guild_id
        self._stay(guild_id, Unavailable("the move has been given up meanwhile", guild_id=guild_id))
        frozen = self._frozen.get(guild_id)
        if frozen is not None and frozen.epoch == msg.epoch and frozen.resident.key in self._isolates.residents:
            self._go_on(guild_id, frozen)
        resident = self._isolates.serving.get(guild_id)
        if resident is None:
            gone = NotFound("guild runtime not loaded on worker", guild_id=guild_id)
            self._shell.reply_failed(msg, asker, gone)
        else:
            self._shell.reply_ok(msg, asker, {"handlers": resident.handlers, "heard": self._heard()})

    def _go_on(self, guild_id: str, frozen: _Frozen) -> None:
        del self._frozen[guild_id]
        self._shell.cancel_timer(frozen.timer)
        resident = frozen.resident
        self._isolates.put_back(resident)
        self._cron.jobs.expect(guild_id, frozen.jobs)
        self._cron.serve(guild_id, resident.key, resident.jobs)
        self._isolates.tell(resident, ThawIsolate())

    def drop(self, guild_id: str, epoch: int) -> None:
        """The guild serves elsewhere; a frozen isolate of another move stays."""
        frozen = self._frozen.get(guild_id)
        if frozen is not None and frozen.epoch == epoch:
            self._forget(guild_id)

    def changed(self, guild_id: str) -> None:
        """Another isolate serves the guild here from now on, or none: what was to be moved is of no use any more."""
        leaving = self._leaving.pop(guild_id, None)
        if leaving is not None:
            self._shell.cancel_timer(leaving.timer)
            self._isolates.tell(leaving.resident, ThawIsolate())
            gone = NotFound("guild runtime not loaded on worker", guild_id=guild_id)
            self._shell.reply_failed(leaving.request, leaving.asker, gone)
        self._forget(guild_id)

    def _forget(self, guild_id: str) -> None:
        frozen = self._frozen.pop(guild_id, None)
        if frozen is not None:
            self._shell.cancel_timer(frozen.timer)
            self._isolates.close(frozen.resident)

    def router_gone(self) -> None:
        """Nobody waits for guilds that come to rest. What is frozen stays so: the next router knows where the guild serves."""
        for guild_id in tuple(self._leaving):
            self._stay(guild_id, Unavailable("the router died meanwhile"))

    def frozen_guilds(self) -> tuple[tuple[str, int], ...]:
        """For WorkerReport."""
        return tuple((guild_id, frozen.epoch) for guild_id, frozen in self._frozen.items())
