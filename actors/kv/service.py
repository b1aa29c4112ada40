"""Every guild's stores that a worker owns: opened at first use, closed when the guild leaves."""

from __future__ import annotations

import concurrent.futures
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from flora.actors.kv.backends import KvBackend
from flora.actors.kv.exports import KvExports
from flora.actors.kv.index import Index, Teller
from flora.actors.kv.jobs import ClientCall, Job, ScriptBatch
from flora.actors.kv.lane import Lane
from flora.actors.kv.script_ops import Answer, ScriptOp
from flora.actors.kv.tally import KvTally
from flora.actors.kv.upkeep import Rounds
from flora.messages.errors import FloraError, ShuttingDown, Unavailable
from flora.messages.ids import GuildId
from flora.messages.kv import KvCall
from flora.messages.kv_exports import KvExportOperation
from flora.storage.ports import KvGuild

log = logging.getLogger("flora.kv")

IDLE_S = 30.0  # so long a guild's stores stay open after the last call, where no script of it runs here
END_LIMIT_S = 2.0  # for a disk or server that does not answer when the worker ends
ROUND_TRIP_US = (
    60  # of the worker's processor time that a batch costs beside its operations: two messages and V8's answer
)


@dataclass(frozen=True, slots=True)
class KvDone:
    """Posted by a helper thread: what a piece of work led to, and who is to hear it."""

    then: Callable[[Any], None]
    result: Any


class Host(Teller, Protocol):
    """What the service needs of its worker. All but `post` are called on the worker's thread."""

    def post(self, item: object) -> None:
        """Puts something into the worker's inbox. From any thread."""

    def answer_ops(self, key: int, answers: Sequence[Answer], cost_us: int) -> None:
        """Hands answers to an isolate, and what they cost."""

    def delay_ops(self, key: int) -> None:
        """Tells an isolate that its answers take longer than they should."""

    def reply(self, call: KvCall, asker: Any, result: Any) -> None:
        """Answers a client: a value, or a FloraError."""

    def is_home(self, guild_id: GuildId) -> bool:
        """Whether an isolate of the guild is in this worker."""


class KvService:
    """Lanes of all guilds whose stores this worker has, and what they share. Everything on the worker's thread."""

    def __init__(self, backend: KvBackend, host: Host, tally: KvTally, exports_root: Path) -> None:
        self.is_threaded = backend.threads > 0
        self._backend = backend
        self._host = host
        self._tally = tally
        self._lanes: dict[GuildId, Lane] = {}
        self._noted: dict[GuildId, int] = {}  # which change of a guild's stores the index knows
        self._index = Index(host)
        self._exports = KvExports(exports_root, self)
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._rounds = Rounds(lambda: tuple(self._lanes.values()), host.after, is_threaded=self.is_threaded)
        self._is_ending = False

    # What scripts and clients want

    def ask(self, key: int, guild_id: GuildId, ops: Sequence[ScriptOp]) -> None:
        """Operations that the isolate with this key asked for at once. All are answered, together."""
        begun_s = time.perf_counter()

        def answer(key: int, answers: Sequence[Answer]) -> None:
            self._tally.answered(ops, answers, int((time.perf_counter() - begun_s) * 1e6))
            self._host.answer_ops(key, answers, ROUND_TRIP_US + int(batch.worked_s * 1e6) * (not self.is_threaded))

        batch = ScriptBatch(key, ops, answer, self._host.delay_ops)
        if not guild_id or self._is_ending:
            batch.failed(Unavailable("there are no key-value stores here"))
        else:
            self._lane(guild_id).add(batch)

    def cancel(self, key: int, guild_id: GuildId, op_ids: Collection[int]) -> None:
        """An isolate does not wait for these any more: what has not begun does not happen."""
        lane = self._lanes.get(guild_id)
        for job in lane.waiting if lane is not None else ():
            if isinstance(job, ScriptBatch) and job.key == key:
                job.cancel(set(op_ids))

    def call(self, request: KvCall, asker: Any) -> None:
        """A client's call."""
        if self._is_ending:
            self._host.reply(request, asker, ShuttingDown("the worker is going down; try again"))
            return
        operation = request.operation
        if isinstance(operation, KvExportOperation):
            self._exports.call(request, asker)
            return

        begun_s = time.perf_counter()

        def ended(result: Any) -> None:
            self._tally.lasted(int((time.perf_counter() - begun_s) * 1e6))
            self.answer(request, asker, result)

        self._lane(request.guild_id).add(ClientCall(operation, ended, ended))

    # The guilds

    def release(self, guild_id: GuildId, closed: Callable[[], None] = lambda: None) -> None:
        """Closes a guild's stores after what has been asked for. `closed` is called when another owner can take them."""
        self._exports.release(guild_id)
        lane = self._lanes.get(guild_id)
        if lane is None:
            closed()
            return

        def over() -> None:
            if lane.is_idle and self._lanes.get(guild_id) is lane:
                del self._lanes[guild_id]
            closed()

        lane.close(over)

    def tick(self) -> None:
        """Once a second."""
        now_s = self.now_s()
        for lane in tuple(self._lanes.values()):
            if lane.is_idle and now_s - lane.used_at_s > IDLE_S and not self._is_needed(lane.guild_id):
                self.release(lane.guild_id)
        self._rounds.begin()

    def _is_needed(self, guild_id: GuildId) -> bool:
        return self._host.is_home(guild_id) or self._exports.is_restoring(guild_id)

    def note_figures(self) -> None:
        """Brings the counters of what is open up to date."""
        self._tally.note(self._backend.figures(), sum(lane.guild is not None for lane in self._lanes.values()))

    def end(self) -> None:
        """The worker ends: everything is closed and made durable. Waits for the disk."""
        self._is_ending = True
        guilds = [lane.guild for lane in self._lanes.values() if lane.guild is not None]
        if self._pool is None or not self.is_threaded:
            for guild in guilds:
                self._close_quietly(guild)
            self._backend.close()
            return
        closing = [self._pool.submit(self._close_quietly, guild) for guild in guilds]
        closing.append(self._pool.submit(self._backend.close))
        concurrent.futures.wait(closing, END_LIMIT_S)
        self._pool.shutdown(wait=False, cancel_futures=True)

    # What exports need

    def do(self, guild_id: GuildId, job: Job) -> None:
        """Does a job with a guild's stores."""
        self._lane(guild_id).add(job)

    def post(self, then: Callable[[Any], None], result: Any) -> None:
        """Has something called on the worker's thread. From any thread."""
        self._host.post(KvDone(then, result))

    def answer(self, call: KvCall, asker: Any, result: Any) -> None:
        """Answers a client."""
        self._tally.called(result)
        self._host.reply(call, asker, result)

    # What the lanes need

    def now_s(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def after(self, delay_s: float, function: Callable[[], None]) -> object:
        """Calls a function after a delay."""
        return self._host.after(delay_s, function)

    def soon(self, function: Callable[[], None]) -> None:
        """Calls a function when the worker has handled what waits for it."""
        self._host.after(
            0.0, function
        )  # not through the inbox: what is put there while it is emptied comes out at once

    def open_guild(self, guild_id: GuildId) -> KvGuild:
        """Takes a guild's stores."""
        return self._backend.open_guild(guild_id)

    def beside(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Works on a helper thread."""
        if self._pool is None:
            threads = max(1, self._backend.threads)
            self._pool = concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="kv")
        self._pool.submit(self._work, work, then)

    def settle(self, done: KvDone) -> None:
        """A helper thread has ended a piece of work."""
        done.then(done.result)

    def worked(self, lane: Lane) -> None:
        """Has the index told if the guild has other stores now."""
        guild = lane.guild
        if guild is None or self._backend.has_index:
            self._noted.pop(lane.guild_id, None)
        elif self._noted.get(lane.guild_id) != guild.changes:
            is_first = lane.guild_id not in self._noted
            self._noted[lane.guild_id] = guild.changes
            stores = guild.stores()
            if stores or not is_first:  # rows of a guild that never had files here are of another time: they stay
                self._index.note(lane.guild_id, stores)

    def _lane(self, guild_id: GuildId) -> Lane:
        lane = self._lanes.get(guild_id)
        if lane is None:
            lane = self._lanes[guild_id] = Lane(guild_id, self)
        return lane

    def _work(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        try:
            result = work()
        except FloraError as exc:
            result = exc
        except Exception as exc:
            log.exception("work with key-value stores failed", extra={"action": "bug"})
            result = exc
        self.post(then, result)

    @staticmethod
    def _close_quietly(guild: KvGuild) -> None:
        try:
            guild.close()
        except FloraError as exc:
            log.error("stores were not closed well: %s", exc, extra={"action": "kv_close_failed"})
