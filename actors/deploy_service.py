"""Deploys guild scripts so that what runs and what is stored agree in the end. Bringing back what is stored: `restore.py`.

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
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any

from flora.actors.compile_cache import Script
from flora.actors.deployment_record import (
    as_sent,
    audit_of,
    change_summary,
    check_size,
    check_storable,
    deploy_json,
    deployment_json,
    printable,
    stored_bundle,
)
from flora.actors.guild_scripts import GuildScripts, ScriptHost
from flora.actors.restore import PATIENCE_S, Outcome, Restorer
from flora.messages.deployment import Deploy, Deployment, Revision
from flora.messages.errors import FloraError, GuestError, NotFound, ShuttingDown, StorageError, TimedOut, Unavailable
from flora.messages.ids import GuildId
from flora.storage.backoff import Backoff
from flora.storage.ports import DeploymentStore, DeploymentSummary, Recorded

log = logging.getLogger(__name__)

RECONCILE_BACKOFF = Backoff(first_s=1.0, cap_s=30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What one deploy will store, and what it replaces."""

    deployment: Deployment
    revision: Revision
    previous: Deployment | None


class DeployService:
    """The deployer without its actor. Lives on one asyncio loop."""

    def __init__(
        self,
        store: DeploymentStore,
        host: ScriptHost,
        *,
        max_script_bytes: int,
        workers: int,
        starter: Callable[[], Script],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """
        Args:
            workers: Size of the pool.
            starter: Gives the script for guilds that never had one.
            sleep: For tests that own the time.
            patience_s: How long a restore keeps its place, see `Restorer`.
        """
        self._store = store
        self._host = host
        self._max_script_bytes = max_script_bytes
        self._scripts = GuildScripts(store, host, sleep)
        self._restorer = Restorer(
            self._scripts,
            workers=workers,
            starter=starter,
            deploy=lambda request, record: self._deploy(request, record_failure=record),
            patience_s=patience_s,
        )
        self._tasks: set[asyncio.Task[None]] = set()
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
        async with self._scripts.turns.turn(request.guild_id, bounded=True):
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

    # What the system asks for: see `Restorer`

    async def restore(self, report: Callable[[Outcome], None] = lambda _: None) -> dict[str, Any]:
        """Loads every stored deployment whose guild runs nothing yet."""
        return await self._restorer.restore(report)

    async def reload(self, guild_ids: Iterable[GuildId]) -> dict[str, Any]:
        """Loads the stored deployments of these guilds again; their isolates are gone."""
        return await self._restorer.reload(guild_ids)

    async def joined(self, guild_id: GuildId) -> None:
        """The bot is in this guild."""
        await self._restorer.joined(guild_id)

    async def left(self, guild_id: GuildId) -> None:
        """The bot was removed from this guild."""
        await self._restorer.left(guild_id)

    def wanted(self) -> tuple[GuildId, ...]:
        """Guilds whose script is to run: those that were loaded, or are being loaded."""
        return self._scripts.wanted()

    def adopt(self, running: Iterable[GuildId], unstored: Iterable[GuildId]) -> None:
        """Takes over from a deployer that died.

        Args:
            running: Guilds whose script runs; they are left alone.
            unstored: Guilds of which it is not known whether what runs is what is stored; that is loaded.
        """
        for guild_id in running:
            self._scripts.of(guild_id).loaded = True
        for guild_id in unstored:
            self._spawn(self._reconcile(guild_id, at_once=True))

    async def present(self, guild_ids: Iterable[GuildId], *, complete: bool) -> None:
        """The bot is in these guilds, and if the list is complete in no others."""
        there = set(guild_ids)
        gone = [guild_id for guild_id in self.wanted() if complete and guild_id not in there]
        await asyncio.gather(*map(self.left, gone), *map(self.joined, there))

    async def drain(self, limit_s: float) -> bool:
        """Takes no new deploys and waits for those under way. False: some did not end within `limit_s`."""
        self._draining = True
        self._restorer.stop()
        for task in self._tasks:
            task.cancel()
        try:
            async with asyncio.timeout(limit_s):
                await self._scripts.turns.all_done()
        except TimeoutError:
            return False
        return True

    # One deploy; the caller has the guild's turn

    async def _deploy(self, request: Deploy, *, record_failure: bool = True) -> Recorded:
        check_storable(request)
        try:
            compiled = await self._scripts.compile(request.guild_id, as_sent(request))
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
        self._host.stored(request.guild_id)
        self._scripts.deployed(request.guild_id)
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
            await self._store.record_failure(failed, audit_of(failed, "deploy.fail", error=error.code))
        except (StorageError, Unavailable) as exc:
            # The load's own error is what the author needs; the history has a gap, and the log says so.
            log.error("failed revision not stored: %s", exc, extra={"guild_id": revision.guild_id})

    async def _record_success(self, plan: _Plan) -> Recorded:
        guild_id = plan.deployment.guild_id
        try:
            line = audit_of(plan.revision, "deploy.create")
            return await self._store.record_success(plan.deployment, plan.revision, line)
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
            found = await self._scripts.patiently(lambda: self._store.revision(guild_id, plan.revision.revision_id))
            stored = await self._scripts.patiently(lambda: self._store.current(guild_id)) if found else None
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
                self._scripts.of(guild_id).loaded = False
                return "it was unloaded"
            await self._scripts.run(plan.previous)
        except FloraError as exc:
            log.error("previous script of guild %s not put back: %s", guild_id, exc, extra={"guild_id": guild_id})
            self._spawn(self._reconcile(guild_id))
            return "the previous one could not be loaded again yet"
        return "the previous one runs again"

    async def _reconcile(self, guild_id: GuildId, *, at_once: bool = False) -> None:
        """Loads what the store has, as soon as it can be asked. For when nobody knows which script runs."""
        failures = 0
        while True:
            failures += 1
            if failures > 1 or not at_once:
                await self._scripts.sleep(RECONCILE_BACKOFF.delay_s(failures, self._scripts.rng))
            try:
                async with self._scripts.turns.turn(guild_id):
                    stored = await self._store.current(guild_id)
                    await (self._host.unload(guild_id) if stored is None else self._scripts.run(stored))
            except Unavailable as exc:
                log.warning("guild %s not settled yet: %s", guild_id, exc, extra={"guild_id": guild_id})
                continue
            except FloraError as exc:
                log.error("Failed to load deployment for guild %s: %s", guild_id, exc, extra={"guild_id": guild_id})
            return

    # Helpers

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
