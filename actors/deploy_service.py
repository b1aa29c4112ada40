"""Deploys guild scripts so that what runs and what is stored agree in the end. Bringing back what is stored: `restore.py`.

For one guild everything here happens one after the other, in the order of asking (`GuildTurns`); guilds do not wait for
each other. A deploy compiles, loads, then stores:

    the sources do not compile, or the load fails      the router kept the old isolate; a failed revision is recorded
    outcome of the load unknown (no answer)      the previous script is loaded again: the last load wins
    storing fails       the previous script is loaded again, or the guild unloaded if there was none
    answer to the commit lost      the store is asked whether it has the revision; while it cannot say, the previous
                        script runs and a task of ours waits for the store and then loads whatever it has

A rollback is a deploy of what an earlier revision stored. An undeploy unloads, then removes what is stored; if that fails, the script
is loaded again. The steps are in `deploy_steps.py`. Nothing here depends on whether the asker still waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from flora.actors.compile_cache import Script
from flora.actors.deploy_steps import DeploySteps
from flora.actors.deployment_record import as_deploy, deploy_json, deployment_json, revision_json
from flora.actors.guild_scripts import GuildScripts, ScriptHost
from flora.actors.restore import PATIENCE_S, Outcome, Restorer
from flora.actors.trace_steps import TraceSteps
from flora.messages.deployment import Deploy, GetRevision, ListRevisions, Revision, RollBack, Undeploy
from flora.messages.errors import BadRequest, NotFound, ShuttingDown
from flora.messages.ids import GuildId
from flora.storage.ports import DeploymentStore, DeploymentSummary, RevisionCursor

log = logging.getLogger(__name__)


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
        trace: TraceSteps | None = None,
    ) -> None:
        """
        Args:
            workers: Size of the pool.
            starter: Gives the script for guilds that never had one.
            sleep: For tests that own the time.
            patience_s: How long a restore keeps its place, see `Restorer`.
            trace: Where the steps are written down.
        """
        self._store = store
        self._scripts = GuildScripts(store, host, sleep)
        self._trace = trace or TraceSteps(None)
        self._steps = DeploySteps(self._scripts, max_script_bytes, self._trace)
        self._restorer = Restorer(
            self._scripts,
            workers=workers,
            starter=starter,
            deploy=lambda request, record: self._steps.deploy(request, record_failure=record),
            patience_s=patience_s,
        )
        self._draining = False

    # What people ask for

    async def deploy(self, request: Deploy) -> dict[str, Any]:
        """Makes this the guild's script.

        Returns:
            The answer of POST /api/deployments/{guild}.
        Raises:
            BundleFailed, GuestError, StorageError, Unavailable: as said at `Deploy`.
        """
        async with self._turn(request.guild_id):
            recorded = (await self._steps.deploy(request)).recorded
        return deploy_json(
            DeploymentSummary(
                guild_id=request.guild_id,
                entry=request.entry,
                created_at=recorded.created_at,
                updated_at=recorded.updated_at,
            )
        )

    async def roll_back(self, request: RollBack) -> dict[str, Any]:
        """Makes what an earlier revision stored the guild's script again.

        Returns:
            The new revision, as the API shows it.
        Raises:
            NotFound, BadRequest: there is no such revision, or it failed.
            GuestError, StorageError, Unavailable: as `deploy`.
        """
        async with self._turn(request.guild_id):
            target = await self._store.revision(request.guild_id, request.revision_id, include_bundle=True)
            if target is None:
                raise NotFound("Deployment revision not found", revision_id=request.revision_id)
            if target.status != "success":
                raise BadRequest("Rollback target must be a successful revision", revision_id=request.revision_id)
            deployed = await self._steps.deploy(as_deploy(target, request), rolled_back_to=target.revision_id)
        return revision_json(deployed.revision, include_bundle=False)

    async def undeploy(self, request: Undeploy) -> dict[str, Any]:
        """Stops the guild's script and forgets the deployment; revisions stay.

        Raises:
            NotFound: nothing is deployed.
            StorageError, Unavailable: the script runs again.
        """
        async with self._turn(request.guild_id):
            await self._steps.undeploy(request)
        return {"guild_id": request.guild_id, "undeployed": True}

    @asynccontextmanager
    async def _turn(self, guild_id: GuildId) -> AsyncIterator[None]:
        if self._draining:
            raise ShuttingDown("flora is shutting down and takes no deploys")
        async with AsyncExitStack() as turn:
            with self._trace.step("deploy.turn", guild_id):
                await turn.enter_async_context(self._scripts.turns.turn(guild_id, bounded=True))
            yield

    # What people want to see

    async def describe(self, guild_id: GuildId, *, include_bundle: bool) -> dict[str, Any]:
        """The answer of GET /api/deployments/{guild}. NotFound: nothing is deployed."""
        revision = await self._store.latest_success(guild_id, include_bundle=include_bundle, must_be_live=True)
        if revision is None:
            raise NotFound("Deployment not found", guild_id=guild_id)
        return deployment_json(revision, include_bundle=include_bundle)

    async def summaries(self) -> list[dict[str, Any]]:
        """All deployments, without code."""
        return [deploy_json(summary) for summary in await self._store.summaries()]

    async def history(self, request: ListRevisions) -> dict[str, Any]:
        """One page of a guild's revisions, see `ListRevisions`."""
        before = (
            RevisionCursor(deployed_at=request.before[0], revision_id=request.before[1]) if request.before else None
        )
        found = await self._store.history(
            request.guild_id,
            request.limit,
            before,
            include_bundle=request.include_bundle,
            include_files=request.include_files,
        )
        shown = [revision_json(revision, include_bundle=request.include_bundle) for revision in found]
        return {"revisions": shown, "more": bool(found) and await self._is_older(request.guild_id, found[-1])}

    async def _is_older(self, guild_id: GuildId, than: Revision) -> bool:
        assert than.deployed_at is not None  # it comes from the store
        cursor = RevisionCursor(deployed_at=than.deployed_at, revision_id=than.revision_id)
        return bool(await self._store.history(guild_id, 1, cursor, include_files=False))

    async def revision(self, request: GetRevision) -> dict[str, Any]:
        """One revision. NotFound: this guild has none with this id."""
        found = await self._store.revision(request.guild_id, request.revision_id, include_bundle=request.include_bundle)
        if found is None:
            raise NotFound("Deployment revision not found", revision_id=request.revision_id)
        return revision_json(found, include_bundle=request.include_bundle)

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
            self._steps.reconcile(guild_id, at_once=True)

    async def present(self, guild_ids: Iterable[GuildId], *, complete: bool) -> None:
        """The bot is in these guilds, and if the list is complete in no others."""
        there = set(guild_ids)
        gone = [guild_id for guild_id in self.wanted() if complete and guild_id not in there]
        await asyncio.gather(*map(self.left, gone), *map(self.joined, there))

    async def drain(self, limit_s: float) -> bool:
        """Takes no new deploys and waits for those under way. False: some did not end within `limit_s`."""
        self._draining = True
        self._restorer.stop()
        for task in self._steps.tasks:
            task.cancel()
        try:
            async with asyncio.timeout(limit_s):
                await self._scripts.turns.all_done()
        except TimeoutError:
            return False
        return True
