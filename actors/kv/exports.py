"""Exports of the stores of a worker's guilds: written, read, deleted and restored beside the worker's thread.

Only two things are done where the stores are used: taking snapshots, which costs next to nothing, and giving a store the contents that
were prepared elsewhere. One export or restore of a worker is under way at a time, the others wait.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, assert_never

from flora.actors.kv.jobs import Job
from flora.messages.errors import BugError, Conflict, FloraError, KvRateLimited, MailboxFull, NotFound, Unavailable
from flora.messages.ids import GuildId
from flora.messages.kv import KvCall, KvEntry, KvStoreInfo
from flora.messages.kv_exports import (
    EXPORT_EVERY_S,
    EXPORT_PART_BYTES,
    KvDeleteExport,
    KvExport,
    KvListExports,
    KvMakeExport,
    KvReadExportPart,
    KvRestoreExport,
)
from flora.storage.kv.export_folder import ExportFolder
from flora.storage.ports import KvGuild, KvSnapshot

log = logging.getLogger("flora.kv")

EXPORTS_FOLDER = "kv-exports"
MAX_WAITING = 32  # exports and restores of one worker

Then = Callable[[Any], None]
"""Gets what was given, or the FloraError."""
Restored = tuple[tuple[str, int], ...]


class Around(Protocol):
    """What exports need of their service. All but `post` are called on the worker's thread."""

    def do(self, guild_id: GuildId, job: Job) -> None:
        """Does a job with a guild's stores."""

    def post(self, then: Then, result: Any) -> None:
        """Has `then` called on the worker's thread. From any thread."""

    def answer(self, call: KvCall, asker: Any, result: Any) -> None:
        """Answers a client: a value, or a FloraError."""


class KvExports:
    """Everything on the worker's thread but what `_beside` is given."""

    def __init__(
        self,
        root: Path,
        around: Around,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._around = around
        self._clock = clock
        self._monotonic = monotonic
        self._begun_s: dict[GuildId, float] = {}  # the last export of each guild
        self._restores: dict[GuildId, _Restore] = {}  # under way
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_busy = False

    def call(self, call: KvCall, asker: Any) -> None:
        """Carries out a `KvExportOperation`; answered when it is done."""

        def ended(result: Any) -> None:
            self._around.answer(call, asker, result)

        folder = ExportFolder(self._root, call.guild_id)
        match call.operation:
            case KvMakeExport():
                self._make(call.guild_id, folder, ended)
            case KvRestoreExport() as wanted:
                self._restore(call.guild_id, folder, wanted, ended)
            case KvListExports():
                self._beside(folder.all, ended)
            case KvReadExportPart(backup_id=backup_id, offset=offset):
                self._beside(lambda: folder.read_part(backup_id, offset, EXPORT_PART_BYTES), ended)
            case KvDeleteExport(backup_id=backup_id):
                self._beside(lambda: folder.delete(backup_id), ended)
            case _:
                assert_never(call.operation)  # type: ignore[arg-type]  # the service passes exports' operations only

    def is_restoring(self, guild_id: GuildId) -> bool:
        """Whether the guild's stores will be needed again soon."""
        return guild_id in self._restores

    def release(self, guild_id: GuildId) -> None:
        """The guild's stores become somebody else's: a restore that is under way ends."""
        if guild_id in self._restores:
            self._restores[guild_id].is_cancelled = True

    # Exports

    def _make(self, guild_id: GuildId, folder: ExportFolder, ended: Then) -> None:
        now_s = self._monotonic()
        self._begun_s = {guild: at_s for guild, at_s in self._begun_s.items() if at_s > now_s - EXPORT_EVERY_S}
        if guild_id in self._begun_s:
            ended(_too_often(self._begun_s[guild_id] + EXPORT_EVERY_S - now_s))
            return
        self._begun_s[guild_id] = now_s

        def over(result: Any) -> None:
            if isinstance(result, FloraError):
                self._begun_s.pop(guild_id, None)
            ended(result)

        def begin(then: Then) -> None:
            job = TakeSnapshots(lambda taken: self._beside(lambda: self._write(folder, taken), then), then)
            self._around.do(guild_id, job)

        self._in_turn(begin, over)

    def _write(self, folder: ExportFolder, taken: Snapshots) -> KvExport:
        begun_s = time.perf_counter()
        now = datetime.fromtimestamp(self._clock(), UTC)
        with ExitStack() as stack:
            for _, snapshot in taken:
                stack.callback(snapshot.close)
            for newest in folder.all()[:1]:  # of another worker, or before this one was started
                age_s = (now - newest.created_at).total_seconds()
                if 0 <= age_s < EXPORT_EVERY_S:
                    raise _too_often(EXPORT_EVERY_S - age_s)
            export = folder.write(now, ((info, snapshot.entries()) for info, snapshot in taken))
        took_ms = round((time.perf_counter() - begun_s) * 1000)
        fields = {
            "action": "kv_exported",
            "backup_id": export.backup_id,
            "bytes": export.file_bytes,
            "took_ms": took_ms,
        }
        log.info("exported %d stores of a guild", len(export.stores), extra=fields)
        return export

    # Restores

    def _restore(self, guild_id: GuildId, folder: ExportFolder, wanted: KvRestoreExport, ended: Then) -> None:
        if guild_id in self._restores:
            ended(Conflict("a restore of this guild is under way; wait until it has ended"))
            return
        restore = self._restores[guild_id] = _Restore(guild_id, self._around, self._clock())

        def over(result: Any) -> None:
            del self._restores[guild_id]
            ended(result)

        self._in_turn(lambda then: self._beside(lambda: restore.run(folder, wanted), then), over)

    # One after the other

    def _in_turn(self, begin: Callable[[Then], None], over: Then) -> None:
        """Begins when nothing else is under way, with what is to be called at the end; `over` hears of it."""
        if len(self._waiting) >= MAX_WAITING:
            over(MailboxFull("too many exports and restores wait for this worker; try again"))
            return

        def ended(result: Any) -> None:
            self._is_busy = False
            over(result)
            self._next()

        self._waiting.append(lambda: begin(ended))
        self._next()

    def _next(self) -> None:
        if self._waiting and not self._is_busy:
            self._is_busy = True
            self._waiting.popleft()()

    def _beside(self, work: Callable[[], Any], then: Then) -> None:
        def run() -> None:
            try:
                result = work()
            except FloraError as exc:
                result = exc
            except Exception:
                log.exception("work with an export failed", extra={"action": "bug"})
                result = BugError("the export failed; see the worker's log")
            self._around.post(then, result)

        # Not of a pool: the interpreter waits for those at its end, and this may wait for a worker that ends.
        threading.Thread(target=run, name="kv exports", daemon=True).start()


Snapshots = tuple[tuple[KvStoreInfo, KvSnapshot], ...]


class TakeSnapshots:
    """All stores of a guild as they are at one moment."""

    def __init__(self, done: Callable[[Snapshots], None], failed: Callable[[FloraError], None]) -> None:
        self.done = done
        self.failed = failed

    def stores(self, guild: KvGuild) -> Iterable[str]:
        return [info.name for info in guild.stores()]

    def run(self, guild: KvGuild) -> Snapshots:
        infos = guild.stores()
        if not infos:
            raise NotFound("the guild has no key-value stores to export")
        with ExitStack() as stack:
            taken = []
            for info in infos:
                snapshot = guild.snapshot(info.name)
                stack.callback(snapshot.close)
                taken.append((info, snapshot))
            stack.pop_all()
            return tuple(taken)


class OwnersPart:
    """Work with a guild's stores that another thread waits for."""

    def __init__(self, names: tuple[str, ...], work: Callable[[KvGuild], Any], waits: Future[Any]) -> None:
        self._names = names
        self.run = work
        self.done = waits.set_result
        self.failed = waits.set_exception

    def stores(self, guild: KvGuild) -> Iterable[str]:
        return self._names


class _Restore:
    """One restore. `run` is on a thread of its own; it waits where the owner has to do something."""

    def __init__(self, guild_id: GuildId, around: Around, now: float) -> None:
        self.is_cancelled = False  # set on the worker's thread
        self._guild_id = guild_id
        self._around = around
        self._now = now

    def run(self, folder: ExportFolder, wanted: KvRestoreExport) -> Restored:
        restored: list[tuple[str, int]] = []
        with folder.reader(wanted.backup_id) as reader:
            for name, entries in reader.stores():
                if wanted.store not in (None, name):
                    continue
                try:
                    restored.append((name, self._restore_store(name, entries)))
                except FloraError as exc:
                    exc.details["store"] = name
                    exc.details["restored"] = [{"store_name": done, "keys": keys} for done, keys in restored]
                    raise
        if wanted.store is not None and not restored:
            raise NotFound("store not found in the export", store=wanted.store[:100])
        fields = {"action": "kv_restored", "guild_id": self._guild_id, "backup_id": wanted.backup_id}
        log.info("restored %d stores", len(restored), extra=fields)
        return tuple(restored)

    def _restore_store(self, name: str, entries: Iterable[tuple[str, KvEntry]]) -> int:
        replacement = self._on_owner((), lambda guild: guild.replacement(name))
        try:
            replacement.fill(self._live(entries))
            keys: int = self._on_owner((name,), lambda _: replacement.commit())
        finally:
            replacement.abandon()
        return keys

    def _live(self, entries: Iterable[tuple[str, KvEntry]]) -> Iterator[tuple[str, KvEntry]]:
        for key, entry in entries:
            if entry.expiration is None or entry.expiration > self._now:
                yield key, entry

    def _on_owner(self, names: tuple[str, ...], work: Callable[[KvGuild], Any]) -> Any:
        waits: Future[Any] = Future()

        def begin(_: object) -> None:
            if self.is_cancelled:
                waits.set_exception(Unavailable("the guild's key-value stores are moving; try again"))
            else:
                self._around.do(self._guild_id, OwnersPart(names, work, waits))

        self._around.post(begin, None)
        return waits.result()


def _too_often(wait_s: float) -> KvRateLimited:
    return KvRateLimited(f"kv export rate limit exceeded; retry in {round(wait_s * 1000)}ms", retry_after_s=wait_s)
