"""Brings stored scripts back: at boot, after a worker's death, when the bot joins a guild.

At boot each worker has a line of its own and a few loads under way at once. A load that takes much longer than others gives its
place to the next one and goes on beside them: a script that hangs delays nobody, neither the boot nor the guilds behind it.
It ends by the limits of its own load, and how it ended is in the log and in the guild's log. What "much longer" is depends on
the machine: on a busy one everything takes long, and giving up places would only make it busier.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from functools import partial
from typing import Any

from flora.actors.compile_cache import Script
from flora.actors.guild_scripts import GuildScripts
from flora.actors.routing import default_worker
from flora.messages.deployment import Deploy, DeployActor, RestoreProgress
from flora.messages.errors import FloraError, NotFound, WorkerGone
from flora.messages.ids import GuildId, ReqId

log = logging.getLogger(__name__)

PATIENCE_S = 3.0  # loads take milliseconds; what takes longer waits for something, or hangs
LOADS_PER_WORKER = 4
LOOKS = 12  # within the patience
SLOWER = 6  # times the usual
SHARE_OF_LAST = 0.1  # in what is usual
LOADS_OF_MOVED = 5  # of a guild that is given another worker while it loads
SYSTEM = DeployActor(kind="system", username="system")


class Outcome:
    """What a restore has done so far, guild by guild."""

    def __init__(self, total: int = 0) -> None:
        self.total = total
        self.restored = 0
        self.failed: dict[GuildId, str] = {}
        self.still_loading: list[GuildId] = []

    async def note(self, guild_id: GuildId, load: Coroutine[Any, Any, None]) -> None:
        """Runs one load and writes down how it ended."""
        try:
            await load
        except FloraError as exc:
            log.error("Failed to load deployment for guild %s: %s", guild_id, exc, extra={"guild_id": guild_id})
            self.failed[guild_id] = str(exc)
        except Exception:
            # One guild's odd data must not end the restore of all others.
            log.exception("Failed to load deployment for guild %s", guild_id, extra={"guild_id": guild_id})
            self.failed[guild_id] = "internal error; see the log of the deployer"
        else:
            self.restored += 1

    def as_progress(self) -> RestoreProgress:
        """For who waits for the end."""
        return RestoreProgress(total=self.total, restored=self.restored, failed=len(self.failed))

    def as_json(self) -> dict[str, Any]:
        """{"restored": n, "failed": {guild id: message}, "still_loading": [guild id]}"""
        return {
            "restored": self.restored,
            "failed": dict(self.failed),
            "still_loading": [guild_id for guild_id in self.still_loading if guild_id not in self.failed],
        }


class Restorer:
    """Loads what is stored. Lives on one asyncio loop."""

    def __init__(
        self,
        scripts: GuildScripts,
        *,
        workers: int,
        starter: Callable[[], Script],
        deploy: Callable[[Deploy, bool], Awaitable[object]],
        patience_s: float = PATIENCE_S,
    ) -> None:
        """
        Args:
            workers: Size of the pool; each has LOADS_PER_WORKER places.
            starter: Gives the script for guilds that never had one.
            deploy: Deploys to a guild whose turn we have; the flag says whether a failure goes into the history.
            patience_s: How long a load keeps its place at least.
        """
        self._scripts = scripts
        self._starter = starter
        self._deploy = deploy
        self._patience_s = patience_s
        self._places = [asyncio.Semaphore(LOADS_PER_WORKER) for _ in range(workers)]
        self._loads: set[asyncio.Task[None]] = set()
        self._restoring: set[GuildId] = set()
        self._usual_s = 0.0
        self._draining = False

    async def restore(self, report: Callable[[Outcome], None] = lambda _: None) -> dict[str, Any]:
        """Loads every stored deployment whose guild runs nothing yet; returns when only stragglers are under way.

        Args:
            report: Called after each guild, with the outcome so far.
        Returns:
            {"restored": how many were loaded, "failed": {guild id: message}, "still_loading": [guild id]}
        """
        summaries = await self._scripts.patiently(self._scripts.store.summaries)
        outcome = Outcome(len(summaries))
        lines: list[list[GuildId]] = [[] for _ in self._places]
        for summary in summaries:
            lines[self._worker_of(summary.guild_id)].append(summary.guild_id)
        await asyncio.gather(
            *(self._work_off(left, outcome, report) for line in map(iter, lines) for left in [line] * LOADS_PER_WORKER)
        )
        return outcome.as_json()

    async def _work_off(self, line: Iterator[GuildId], outcome: Outcome, report: Callable[[Outcome], None]) -> None:
        for guild_id in line:
            self._restoring.add(guild_id)
            load = await self._in_its_place(guild_id, partial(self._restore_one, guild_id, outcome))
            if not load.done():
                outcome.still_loading.append(guild_id)
                log.warning("guild %s takes long to load; going on without it", guild_id, extra={"guild_id": guild_id})
            report(outcome)

    async def reload(self, guild_ids: Iterable[GuildId]) -> dict[str, Any]:
        """Loads the stored deployments of these guilds again; their isolates are gone. Result as `restore`.

        Waits for stragglers too: the router holds these guilds' events until it hears what became of them.
        """
        outcome = Outcome()
        loads = await asyncio.gather(
            *(self._in_its_place(guild_id, partial(self._reload_one, guild_id, outcome)) for guild_id in guild_ids)
        )
        await asyncio.gather(*loads, return_exceptions=True)
        return outcome.as_json()

    async def joined(self, guild_id: GuildId) -> None:
        """The bot is in this guild: brings back what is stored, or deploys the starter if it never had anything.

        May be called any number of times; what runs or is being restored already is left alone. Returns without waiting for
        a straggler.
        """
        if guild_id not in self._restoring:
            await self._in_its_place(guild_id, partial(self._join, guild_id))

    async def left(self, guild_id: GuildId) -> None:
        """The bot was removed from this guild: stops its script and keeps the deployment."""
        self._restoring.discard(guild_id)  # who joins from here on comes after us
        async with self._scripts.turns.turn(guild_id):
            guild = self._scripts.of(guild_id)
            guild.left, guild.loaded = True, False
            try:
                await self._scripts.host.unload(guild_id)
            except FloraError as exc:
                log.error("guild %s left, but was not unloaded: %s", guild_id, exc, extra={"guild_id": guild_id})

    def stop(self) -> None:
        """Gives up all loads under way, and begins none: the system goes down."""
        self._draining = True
        for load in self._loads:
            load.cancel()

    # One guild

    async def _restore_one(self, guild_id: GuildId, outcome: Outcome) -> None:
        try:
            async with self._scripts.turns.turn(guild_id):
                guild = self._scripts.of(guild_id)
                # A deploy, a join or a removal may have come first while this one waited for its turn.
                if not (guild.loaded or guild.left or self._draining):
                    await outcome.note(guild_id, self._run_stored(guild_id))
        finally:
            self._restoring.discard(guild_id)

    async def _reload_one(self, guild_id: GuildId, outcome: Outcome) -> None:
        async with self._scripts.turns.turn(guild_id):
            # Also when we think that it runs: what a deploy loaded a moment ago may be what was lost.
            if not (self._scripts.of(guild_id).left or self._draining):
                await outcome.note(guild_id, self._run_stored(guild_id))

    async def _run_stored(self, guild_id: GuildId) -> None:
        stored = await self._scripts.stored(guild_id)
        if stored is None:
            raise NotFound("nothing is deployed", guild_id=guild_id)
        for left in reversed(range(LOADS_OF_MOVED)):
            try:
                await self._scripts.run(stored)
                return
            except WorkerGone as exc:
                is_ours = exc.details.get("moved") and not (self._scripts.of(guild_id).left or self._draining)
                if not is_ours or not left:
                    raise
                stored = await self._scripts.stored(guild_id) or stored  # nobody else loads it where it is to run now

    async def _join(self, guild_id: GuildId) -> None:
        async with self._scripts.turns.turn(guild_id):
            guild = self._scripts.of(guild_id)
            rejoined, guild.left = guild.left, False
            if self._draining or guild.loaded or (guild.broken and not rejoined):
                return
            try:
                await self._bring_up(guild_id)
            except FloraError as exc:
                log.error("Failed to load deployment for guild %s: %s", guild_id, exc, extra={"guild_id": guild_id})

    async def _bring_up(self, guild_id: GuildId) -> None:
        stored = await self._scripts.stored(guild_id)
        if stored is not None:
            await self._scripts.run(stored)
        elif await self._scripts.patiently(lambda: self._scripts.store.latest_success(guild_id)) is None:
            await self._bootstrap(guild_id)

    async def _bootstrap(self, guild_id: GuildId) -> None:
        starter = self._starter()
        latest = await self._scripts.patiently(lambda: self._scripts.store.latest(guild_id))
        failed_before = latest is not None and latest.status == "failed" and latest.deploy_source == "bootstrap"
        request = Deploy(
            req_id=ReqId(""),
            guild_id=guild_id,
            entry=starter.entry,
            files=starter.files,
            bundle=starter.bundle,
            source_map=starter.source_map,
            source="bootstrap",
            actor=SYSTEM,
        )
        # A starter that fails is tried again whenever the guild shows up; once in the history is enough.
        await self._deploy(request, not failed_before)
        log.info("starter bot deployed to guild %s", guild_id, extra={"guild_id": guild_id})

    # Places

    async def _in_its_place(
        self, guild_id: GuildId, work: Callable[[], Coroutine[Any, Any, None]]
    ) -> asyncio.Task[None]:
        """Starts a load when its worker has a place for it; returns when it is done or has lost its place."""
        async with self._places[self._worker_of(guild_id)]:
            load = asyncio.get_running_loop().create_task(work())
            self._loads.add(load)
            load.add_done_callback(self._done)
            await self._wait_for(load, guild_id)
            return load

    async def _wait_for(self, load: asyncio.Task[None], guild_id: GuildId) -> None:
        """Returns when the load is done, or took longer than it should: waiting at the compiler does not count."""
        taken_s = 0.0
        look_s = self._patience_s / LOOKS
        while not load.done() and taken_s < max(self._patience_s, SLOWER * self._usual_s):
            await asyncio.wait({load}, timeout=look_s)
            if guild_id not in self._scripts.compiling:
                taken_s += look_s
        if load.done():
            self._usual_s += (taken_s - self._usual_s) * SHARE_OF_LAST

    def _done(self, load: asyncio.Task[None]) -> None:
        self._loads.discard(load)
        if not load.cancelled() and (error := load.exception()) is not None:
            log.error("a guild was not brought up", exc_info=error, extra={"action": "bug"})

    def _worker_of(self, guild_id: GuildId) -> int:
        return default_worker(guild_id, len(self._places))
