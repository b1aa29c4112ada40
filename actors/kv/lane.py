"""The stores of one guild and what is to be done with them, in order."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from flora.actors.kv.jobs import Closing, Job, ScriptBatch, Upkeep
from flora.messages.errors import BugError, Conflict, FloraError, MailboxFull, Unavailable
from flora.messages.ids import GuildId
from flora.storage.ports import KvGuild

log = logging.getLogger("flora.kv")

MAX_WAITING = 2_000
SLICE_S = 0.002  # so long other guilds wait for a batch that takes longer; most take a tenth of it
OPEN_AGAIN_S = 0.02  # a previous owner needs some milliseconds to close
OPEN_AGAIN_CAP_S = 0.25
OPEN_LIMIT_S = 10.0  # then whoever waits is told


class Around(Protocol):
    """What a lane needs of its service."""

    is_threaded: bool  # the stores may not be used on the worker's thread

    def open_guild(self, guild_id: GuildId) -> KvGuild:
        """Takes a guild's stores. Conflict: another owner has not let go."""

    def beside(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Works on a helper thread; `then` gets what it gave, or the exception it raised, on the worker's thread."""

    def after(self, delay_s: float, function: Callable[[], None]) -> object:
        """Calls a function on the worker's thread after a delay."""

    def soon(self, function: Callable[[], None]) -> None:
        """Calls a function on the worker's thread after what waits for it now."""

    def now_s(self) -> float:
        """Seconds that never go back."""

    def worked(self, lane: Lane) -> None:
        """A job has ended."""


class Lane:
    """Opens the stores when the first job comes, and does one job after the other."""

    def __init__(self, guild_id: GuildId, around: Around) -> None:
        self.guild_id = guild_id
        self.guild: KvGuild | None = None
        self.used_at_s = around.now_s()
        self._around = around
        self._jobs: deque[Job] = deque()
        self._is_busy = False  # a helper thread has the stores, or a timer is to try again
        self._opening_since_s: float | None = None
        self._again_s = OPEN_AGAIN_S

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def is_idle(self) -> bool:
        """Nothing is under way or waits."""
        return not (self._jobs or self._is_busy)

    @property
    def waiting(self) -> tuple[Job, ...]:
        """Jobs that have not begun."""
        return tuple(self._jobs)

    def add(self, job: Job) -> None:
        """Does a job, at once if it can be."""
        if len(self._jobs) >= MAX_WAITING:
            job.failed(MailboxFull("too much waits for the key-value stores of this guild; try again"))
            return
        self._jobs.append(job)
        self._go_on()

    def close(self, closed: Callable[[], None]) -> None:
        """Gives the stores free after what has been asked for; what waits for them to be opened comes to nothing."""
        if self.guild is None:
            self._fail_all(Unavailable("the guild's key-value stores are moving; try again"))
        if self.guild is None and not self._is_busy:
            closed()
        else:
            self._jobs.append(Closing(closed))
            self._go_on()

    def _go_on(self) -> None:
        while self._jobs and not self._is_busy:
            if self.guild is None and not self._open():
                return
            guild = self.guild
            assert guild is not None
            job = self._jobs[0]
            if not self._around.is_threaded and (self._warm(guild, job) or self._is_only_begun(guild, job)):
                return
            self._jobs.popleft()
            if self._around.is_threaded:
                self._run_beside(job, guild)
            else:
                self._settle(job, _attempt(job, guild))

    def _is_only_begun(self, guild: KvGuild, job: Job) -> bool:
        """Does the first or next part of a large batch; True: there is more to do, after what waits for the worker meanwhile."""
        if not isinstance(job, ScriptBatch) or job.run_for(guild, SLICE_S):
            return False
        self._is_busy = True
        self._around.soon(self._try_again)
        return True

    def _run_beside(self, job: Job, guild: KvGuild) -> None:
        self._is_busy = True
        self._around.beside(lambda: job.run(guild), lambda result: self._back(job, result))

    # Opening

    def _open(self) -> bool:
        """Takes the stores; False when that takes time, or comes to nothing."""
        if isinstance(self._jobs[0], Closing):
            self._jobs.popleft().done(None)
            return False
        if self._around.is_threaded:
            self._is_busy = True
            self._around.beside(lambda: self._around.open_guild(self.guild_id), self._opened)
            return False
        try:
            self._opened(self._around.open_guild(self.guild_id), go_on=False)
        except FloraError as exc:
            self._opened(exc, go_on=False)
        return self.guild is not None

    def _opened(self, result: Any, *, go_on: bool = True) -> None:
        self._is_busy = False
        if isinstance(result, Conflict) and self._may_try_again():
            self._is_busy = True
            self._around.after(self._again_s, self._try_again)
            self._again_s = min(OPEN_AGAIN_CAP_S, self._again_s * 2)
            return
        self._opening_since_s, self._again_s = None, OPEN_AGAIN_S
        if isinstance(result, Conflict):
            self._fail_all(Unavailable(str(result)))
        elif isinstance(result, Exception):
            self._fail_all(_as_flora(result))
        else:
            self.guild = result
        if go_on:
            self._go_on()

    def _may_try_again(self) -> bool:
        now_s = self._around.now_s()
        if self._opening_since_s is None:
            self._opening_since_s = now_s
        return bool(self._jobs) and now_s - self._opening_since_s < OPEN_LIMIT_S

    def _try_again(self) -> None:
        self._is_busy = False
        self._go_on()

    def _fail_all(self, error: FloraError) -> None:
        jobs, self._jobs = self._jobs, deque()
        for job in jobs:
            job.failed(error)

    def _warm(self, guild: KvGuild, job: Job) -> bool:
        """Has a large store opened beside the worker's thread; False: there is none."""
        for store in job.stores(guild):
            work = guild.warm(store)
            if work is not None:
                self._is_busy = True
                if isinstance(job, ScriptBatch):
                    job.delay()
                self._around.beside(work, self._warmed)
                return True
        return False

    def _warmed(self, result: Any) -> None:
        self._is_busy = False
        try:
            if isinstance(result, Exception):
                raise result
            result()
        except Exception as exc:  # noqa: BLE001 - the job finds the same, and says so
            log.warning(
                "a store was not opened: %s", exc, extra={"action": "kv_open_failed", "guild_id": self.guild_id}
            )
            self._run_first()
        self._go_on()

    def _run_first(self) -> None:
        if self._jobs and self.guild is not None:
            job = self._jobs.popleft()
            self._settle(job, _attempt(job, self.guild))

    # Ends

    def _back(self, job: Job, result: Any) -> None:
        self._is_busy = False
        self._settle(job, result)
        self._go_on()

    def _settle(self, job: Job, result: Any) -> None:
        if isinstance(job, Closing):
            self.guild = None
        if not isinstance(job, Upkeep):
            self.used_at_s = self._around.now_s()
        self._around.worked(self)
        if isinstance(result, Exception):
            job.failed(_as_flora(result))
        else:
            job.done(result)


def _attempt(job: Job, guild: KvGuild) -> Any:
    try:
        return job.run(guild)
    except FloraError as exc:
        return exc
    except Exception as exc:
        log.exception("a job with key-value stores failed", extra={"action": "bug"})
        return exc


def _as_flora(error: Exception) -> FloraError:
    return error if isinstance(error, FloraError) else BugError("the key-value stores failed; see the worker's log")
