"""Deploys, restores and removes guild scripts so that what runs and what is stored agree in the end.

For one guild everything here happens one after the other, in the order of asking (`GuildTurns`); guilds do not wait for
each other. A deploy compiles, loads, then stores:

    files do not compile      nothing happened, nothing is recorded
    load fails, or the bundle is no script      the router kept the old isolate; a failed revision is recorded
    outcome of the load unknown (no answer)      the previous script is loaded again: the last load wins
    storing fails       the previous script is loaded again, or the guild unloaded if there was none
    answer to the commit lost      the store is asked whether it has the revision; while it cannot say, the previous
                        script runs and a task of ours waits for the store and then loads whatever it has

Nothing here depends on whether the asker still waits.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from flora.actors.compile_cache import CompileCache, Script
from flora.actors.deployment_record import (
    as_sent,
    as_stored,
    change_summary,
    check_size,
    check_storable,
    deploy_json,
    deployment_json,
    printable,
    stored_bundle,
)
from flora.actors.guild_turns import GuildTurns
from flora.messages.deployment import Compiled, Deploy, DeployActor, Deployment, Revision
from flora.messages.errors import FloraError, GuestError, NotFound, ShuttingDown, StorageError, TimedOut, Unavailable
from flora.messages.ids import GuildId, ReqId
from flora.storage.backoff import Backoff
from flora.storage.ports import DeploymentStore, DeploymentSummary, Recorded

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_WAITING_PER_GUILD = 8  # a person who deploys faster than this has a loop in a script of theirs
PAGE_SIZE = 16  # deployments in memory at once while restoring, besides those being loaded
STORE_BACKOFF = Backoff(first_s=0.2, cap_s=5.0)
STORE_TRIES = 6  # with the backoff above about six seconds: a killed Postgres is back by then
RECONCILE_BACKOFF = Backoff(first_s=1.0, cap_s=30.0)

SYSTEM = DeployActor(kind="system", username="system")


class ScriptHost(Protocol):
    """Where scripts are compiled and run. All methods raise `FloraError`; TimedOut says that the outcome is unknown."""

    async def compile(self, guild_id: GuildId, script: Script) -> Compiled:
        """Turns sources into what an isolate runs. BundleFailed: the sources are wrong."""

    async def load(self, guild_id: GuildId, compiled: Compiled, *, restore: bool) -> None:
        """Makes this the guild's running script; the one before stays when this raises anything but TimedOut."""

    async def unload(self, guild_id: GuildId) -> None:
        """Stops the guild's script. A guild without one is fine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What one deploy will store, and what it replaces."""

    deployment: Deployment
    revision: Revision
    previous: Deployment | None


@dataclass(slots=True)
class _Guild:
    """What this process knows of a guild. Forgotten when it restarts; the store knows better then."""

    loaded: bool = False
    left: bool = False
    broken: bool = False  # its stored script did not load; only a deploy changes that


class DeployService:
    """The deployer without its actor. Lives on one asyncio loop."""

    def __init__(
        self,
        store: DeploymentStore,
        host: ScriptHost,
        *,
        max_script_bytes: int,
        parallel_loads: int,
        starter: Callable[[], Script],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """
        Args:
            parallel_loads: How many restores may be under way at once.
            starter: Gives the script for guilds that never had one.
            sleep: For tests that own the time.
        """
        self._store = store
        self._host = host
        self._max_script_bytes = max_script_bytes
        self._starter = starter
        self._sleep = sleep
        self._turns = GuildTurns(MAX_WAITING_PER_GUILD)
        self._loading = asyncio.Semaphore(parallel_loads)
        self._cache = CompileCache()
        self._guilds: dict[GuildId, _Guild] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._rng = random.Random()
        self._draining = False

    # What people ask for

    async def deploy(self, request: Deploy) -> dict[str, Any]:
        """Makes this the guild's script.

        Returns:
            The answer of POST /api/deployments/{guild}.
        Raises:
            BundleFailed, GuestError, StorageError, Unavailable: as said at `Deploy`.
        """
        if self._draining:
            raise ShuttingDown("flora is shutting down and takes no deploys")
        async with self._turns.turn(request.guild_id, bounded=True):
            recorded = await self._deploy(request)
        return deploy_json(
            DeploymentSummary(
                guild_id=request.guild_id,
                entry=request.entry,
                created_at=recorded.created_at,
                updated_at=recorded.updated_at,
            )
        )

    async def describe(self, guild_id: GuildId, *, include_bundle: bool) -> dict[str, Any]:
        """The answer of GET /api/deployments/{guild}. NotFound: it has no successful revision."""
        revision = await self._store.latest_success(guild_id, include_bundle=include_bundle)
        if revision is None:
            raise NotFound("Deployment not found", guild_id=guild_id)
        return deployment_json(revision, include_bundle=include_bundle)

    async def summaries(self) -> list[dict[str, Any]]:
        """All deployments, without code."""
        return [deploy_json(summary) for summary in await self._store.summaries()]

    # What the system asks for

    async def restore(self) -> dict[str, Any]:
        """Loads every stored deployment whose guild runs nothing yet.

        A script that does not load is named in the result and in the log, and holds up nobody but itself.

        Returns:
            {"restored": how many were loaded, "failed": {guild id: message}}
        """
        outcome = _Outcome()
        loads: list[asyncio.Task[None]] = []
        after: GuildId | None = None
        try:
            while page := await self._patiently(self._page_after(after)):
                for deployment in page:
                    await self._loading.acquire()  # before the task: tasks that wait would all hold their script
                    loads.append(asyncio.create_task(self._restore_one(deployment, outcome)))
                after = page[-1].guild_id
        finally:
            await asyncio.gather(*loads)
        return outcome.as_json()

    async def reload(self, guild_ids: Iterable[GuildId]) -> dict[str, Any]:
        """Loads the stored deployments of these guilds again; their isolates are gone. Result as `restore`."""
        outcome = _Outcome()
        await asyncio.gather(*(self._reload_one(guild_id, outcome) for guild_id in guild_ids))
        return outcome.as_json()

    async def joined(self, guild_id: GuildId) -> None:
        """The bot is in this guild: brings back what is stored, or deploys the starter if it never had anything.

        May be called any number of times; what runs already is left alone.
        """
        async with self._loading, self._turns.turn(guild_id):
            guild = self._guild(guild_id)
            rejoined, guild.left = guild.left, False
            if self._draining or guild.loaded or (guild.broken and not rejoined):
                return
            try:
                await self._bring_up(guild_id)
            except FloraError as exc:
                log.error("Failed to load deployment for guild %s: %s", guild_id, exc, extra={"guild_id": guild_id})

    async def left(self, guild_id: GuildId) -> None:
        """The bot was removed from this guild: stops its script and keeps the deployment."""
        async with self._turns.turn(guild_id):
            guild = self._guild(guild_id)
            guild.left, guild.loaded = True, False
            try:
                await self._host.unload(guild_id)
            except FloraError as exc:
                log.error("guild %s left, but was not unloaded: %s", guild_id, exc, extra={"guild_id": guild_id})

    async def drain(self, limit_s: float) -> bool:
        """Takes no new deploys and waits for those under way. False: some did not end within `limit_s`."""
        self._draining = True
        for task in self._tasks:
            task.cancel()
        try:
            async with asyncio.timeout(limit_s):
                await self._turns.all_done()
        except TimeoutError:
            return False
        return True

    # One deploy; the caller has the guild's turn

    async def _deploy(self, request: Deploy, *, record_failure: bool = True) -> Recorded:
        check_storable(request)
        try:
            compiled = await self._compile(request.guild_id, as_sent(request))
        except GuestError as exc:  # only of a bundle: files that do not compile raise BundleFailed and leave no trace
            if record_failure:
                await self._record_failure((await self._plan(request, request.bundle or "")).revision, exc)
            raise
        plan = await self._plan(request, stored_bundle(request, compiled))
        try:
            check_size(request, compiled, self._max_script_bytes)
            await self._host.load(request.guild_id, compiled, restore=False)
        except FloraError as exc:
            if record_failure:
                await self._record_failure(plan.revision, exc)
            if isinstance(exc, TimedOut):
                await self._put_back(plan)
            raise
        recorded = await self._record_success(plan)
        self._guilds[request.guild_id] = _Guild(loaded=True)
        return recorded

    async def _plan(self, request: Deploy, bundle: str) -> _Plan:
        previous = await self._store.current(request.guild_id)
        base = await self._store.latest_success(request.guild_id)
        # A map that came with files alone describes something else; the one of the compiled script is inside it.
        source_map = request.source_map if request.bundle is not None else None
        revision = Revision(
            revision_id=str(uuid.uuid4()),
            guild_id=request.guild_id,
            entry=request.entry,
            bundle=bundle,
            status="success",
            deploy_source=request.source,
            actor=request.actor,
            files=request.files,
            source_map=source_map,
            build_id=request.build_id,
            base_revision_id=base.revision_id if base else None,
            change_summary=change_summary(request.files, base.files if base else None),
        )
        deployment = Deployment(
            guild_id=request.guild_id, entry=request.entry, bundle=bundle, files=request.files, source_map=source_map
        )
        return _Plan(deployment=deployment, revision=revision, previous=previous)

    async def _record_failure(self, revision: Revision, error: FloraError) -> None:
        failed = replace(revision, status="failed", error_message=printable(str(error)))
        try:
            await self._store.record_failure(failed)
        except (StorageError, Unavailable) as exc:
            # The load's own error is what the author needs; the history has a gap, and the log says so.
            log.error("failed revision not stored: %s", exc, extra={"guild_id": revision.guild_id})

    async def _record_success(self, plan: _Plan) -> Recorded:
        guild_id = plan.deployment.guild_id
        try:
            return await self._store.record_success(plan.deployment, plan.revision)
        except (StorageError, Unavailable) as exc:
            recorded = await self._was_recorded(plan) if isinstance(exc, Unavailable) else None
            if recorded is not None:
                return recorded
            outcome = await self._put_back(plan)
            raise StorageError(
                f"the script of guild {guild_id} loaded but could not be stored; {outcome}: {exc}", guild_id=guild_id
            ) from exc

    async def _was_recorded(self, plan: _Plan) -> Recorded | None:
        """Whether a commit whose answer was lost took place. If the store cannot say, somebody will ask it again."""
        guild_id = plan.deployment.guild_id
        try:
            found = await self._patiently(lambda: self._store.revision(guild_id, plan.revision.revision_id))
            stored = await self._patiently(lambda: self._store.current(guild_id)) if found else None
        except (StorageError, Unavailable):
            self._spawn(self._reconcile(guild_id))
            return None
        if stored is None or stored.created_at is None or stored.updated_at is None:
            return None
        return Recorded(created_at=stored.created_at, updated_at=stored.updated_at)

    async def _put_back(self, plan: _Plan) -> str:
        """Makes the previous script the running one again. Returns what became of it, for an error text."""
        guild_id = plan.deployment.guild_id
        try:
            if plan.previous is None:
                await self._host.unload(guild_id)
                self._guild(guild_id).loaded = False
                return "it was unloaded"
            await self._run(plan.previous)
        except FloraError as exc:
            log.error("previous script of guild %s not put back: %s", guild_id, exc, extra={"guild_id": guild_id})
            self._spawn(self._reconcile(guild_id))
            return "the previous one could not be loaded again yet"
        return "the previous one runs again"

    async def _reconcile(self, guild_id: GuildId) -> None:
        """Loads what the store has, as soon as it can be asked. For when nobody knows which script runs."""
        failures = 0
        while True:
            failures += 1
            await self._sleep(RECONCILE_BACKOFF.delay_s(failures, self._rng))
            try:
                async with self._turns.turn(guild_id):
                    stored = await self._store.current(guild_id)
                    await (self._host.unload(guild_id) if stored is None else self._run(stored))
            except Unavailable as exc:
                log.warning("guild %s not settled yet: %s", guild_id, exc, extra={"guild_id": guild_id})
                continue
            except FloraError as exc:
                log.error("Failed to load deployment for guild %s: %s", guild_id, exc, extra={"guild_id": guild_id})
            return

    # One restore

    async def _restore_one(self, deployment: Deployment, outcome: _Outcome) -> None:
        try:
            async with self._turns.turn(deployment.guild_id):
                guild = self._guild(deployment.guild_id)
                # A deploy, a join or a removal may have come first while this one waited for its turn.
                if not guild.loaded and not guild.left:
                    await outcome.note(deployment.guild_id, self._run(deployment))
        finally:
            self._loading.release()

    async def _reload_one(self, guild_id: GuildId, outcome: _Outcome) -> None:
        async with self._loading, self._turns.turn(guild_id):
            # Also when we think that it runs: what a deploy loaded a moment ago may be what was lost.
            if not self._guild(guild_id).left:
                await outcome.note(guild_id, self._run_stored(guild_id))

    async def _run_stored(self, guild_id: GuildId) -> None:
        stored = await self._patiently(lambda: self._store.current(guild_id))
        if stored is None:
            raise NotFound("nothing is deployed", guild_id=guild_id)
        await self._run(stored)

    async def _bring_up(self, guild_id: GuildId) -> None:
        stored = await self._patiently(lambda: self._store.current(guild_id))
        if stored is not None:
            await self._run(stored)
        elif await self._patiently(lambda: self._store.latest_success(guild_id)) is None:
            await self._bootstrap(guild_id)

    async def _bootstrap(self, guild_id: GuildId) -> None:
        starter = self._starter()
        latest = await self._patiently(lambda: self._store.latest(guild_id))
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
        await self._deploy(request, record_failure=not failed_before)
        log.info("starter bot deployed to guild %s", guild_id, extra={"guild_id": guild_id})

    async def _run(self, deployment: Deployment) -> None:
        """Loads a stored deployment. The caller has the guild's turn."""
        guild = self._guild(deployment.guild_id)
        try:
            compiled = await self._compile(deployment.guild_id, as_stored(deployment))
            await self._host.load(deployment.guild_id, compiled, restore=True)
        except FloraError as exc:
            guild.loaded, guild.broken = False, not isinstance(exc, Unavailable)
            raise
        guild.loaded, guild.broken = True, False

    async def _compile(self, guild_id: GuildId, script: Script) -> Compiled:
        return await self._cache.get(guild_id, script, lambda missing: self._host.compile(guild_id, missing))

    # Helpers

    def _page_after(self, after: GuildId | None) -> Callable[[], Awaitable[Any]]:
        return lambda: self._store.page(after, PAGE_SIZE)

    async def _patiently(self, read: Callable[[], Awaitable[T]]) -> T:
        """A read that is tried again while the store is away, STORE_TRIES times in all."""
        for failures in range(1, STORE_TRIES):
            try:
                return await read()
            except Unavailable:
                await self._sleep(STORE_BACKOFF.delay_s(failures, self._rng))
        return await read()

    def _guild(self, guild_id: GuildId) -> _Guild:
        return self._guilds.setdefault(guild_id, _Guild())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Outcome:
    """Counts what a restore did, guild by guild."""

    def __init__(self) -> None:
        self._restored = 0
        self._failed: dict[GuildId, str] = {}

    async def note(self, guild_id: GuildId, load: Coroutine[Any, Any, None]) -> None:
        """Runs one load and writes down how it ended."""
        try:
            await load
        except FloraError as exc:
            log.error("Failed to load deployment for guild %s: %s", guild_id, exc, extra={"guild_id": guild_id})
            self._failed[guild_id] = str(exc)
        except Exception:
            # One guild's odd data must not end the restore of all others.
            log.exception("Failed to load deployment for guild %s", guild_id, extra={"guild_id": guild_id})
            self._failed[guild_id] = "internal error; see the log of the deployer"
        else:
            self._restored += 1

    def as_json(self) -> dict[str, Any]:
        """{"restored": n, "failed": {guild id: message}}"""
        return {"restored": self._restored, "failed": dict(self._failed)}
