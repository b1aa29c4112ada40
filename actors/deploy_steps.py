"""One deploy or undeploy of one guild, step by step. Whoever calls has the guild's turn.

What runs changes first, then what is stored: at every moment the store holds something whole, and whoever takes over after a crash
loads that. Where it is not known what runs or what is stored, a task of ours finds out, as long as that takes.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any

from flora.actors.audit_trail import audit_line
from flora.actors.deployment_record import (
    as_sent,
    audit_of,
    change_summary,
    check_size,
    check_storable,
    printable,
    stored_bundle,
)
from flora.actors.guild_scripts import GuildScripts
from flora.actors.trace_steps import TraceSteps
from flora.messages.deployment import Deploy, Deployment, Revision, Undeploy
from flora.messages.errors import FloraError, NotFound, StorageError, TimedOut, Unavailable
from flora.messages.ids import GuildId
from flora.storage.backoff import Backoff
from flora.storage.ports import Recorded

log = logging.getLogger(__name__)

RECONCILE_BACKOFF = Backoff(first_s=1.0, cap_s=30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """What became of a deploy: its revision with its time, and the times of the guild's deployment."""

    revision: Revision
    recorded: Recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What one deploy will store, and what it replaces."""

    deployment: Deployment
    revision: Revision
    previous: Deployment | None
    rolled_back_to: str | None

    def audit_details(self) -> dict[str, str]:
        return {} if self.rolled_back_to is None else {"rolled_back_to": self.rolled_back_to}


class DeploySteps:
    """Lives on one asyncio loop. `tasks` are those that find out what could not be known at once."""

    def __init__(self, scripts: GuildScripts, max_script_bytes: int, trace: TraceSteps) -> None:
        self._scripts = scripts
        self._store = scripts.store
        self._host = scripts.host
        self._max_script_bytes = max_script_bytes
        self._step = trace.step
        self.tasks: set[asyncio.Task[None]] = set()

    async def deploy(
        self, request: Deploy, *, rolled_back_to: str | None = None, record_failure: bool = True
    ) -> Deployed:
        """Compiles, loads, stores.

        Args:
            rolled_back_to: The revision whose script this is.
            record_failure: Whether an attempt that fails goes into the history.
        """
        check_storable(request)
        try:
            with self._step("deploy.compile", request.guild_id):
                compiled = await self._scripts.compile(request.guild_id, as_sent(request))
        except FloraError as exc:
            if record_failure:
                await self._record_failure(request, exc, rolled_back_to)
            raise
        plan = await self._plan(request, stored_bundle(request, compiled), rolled_back_to)
        try:
            with self._step("deploy.load", request.guild_id, bytes=len(compiled.script)):
                check_size(request, compiled, self._max_script_bytes)
                await self._host.load(request.guild_id, compiled, restore=False)
        except FloraError as exc:
            if record_failure:
                await self._record_failure(request, exc, rolled_back_to, plan)
            if isinstance(exc, TimedOut):
                await self._put_back(request.guild_id, plan.previous)
            raise
        with self._step("deploy.store", request.guild_id):
            recorded = await self._record_success(plan)
        self._host.stored(request.guild_id)
        self._scripts.deployed(request.guild_id)
        return Deployed(revision=replace(plan.revision, deployed_at=recorded.updated_at), recorded=recorded)

    async def undeploy(self, request: Undeploy) -> None:
        """Stops the script, then forgets the deployment. NotFound: there is none."""
        guild_id = request.guild_id
        previous = await self._store.current(guild_id)
        if previous is None:
            raise NotFound("Deployment not found", guild_id=guild_id)
        live = await self._store.latest_success(guild_id)
        details = {"entry": previous.entry, "source": request.source}
        target = live.revision_id if live else ""
        line = audit_line(guild_id, request.actor, "deploy.undeploy", target, details)
        try:
            with self._step("deploy.unload", guild_id):
                await self._host.unload(guild_id)
        except FloraError:
            await self._put_back(guild_id, previous)
            raise
        try:
            with self._step("deploy.remove", guild_id):
                await self._store.remove(guild_id, line)
        except (StorageError, Unavailable) as exc:
            if not (isinstance(exc, Unavailable) and await self._was_removed(guild_id)):
                outcome = await self._put_back(guild_id, previous)
                raise StorageError(
                    f"the deployment of guild {guild_id} could not be removed; {outcome}: {exc}", guild_id=guild_id
                ) from exc
        self._scripts.of(guild_id).loaded = False

    def reconcile(self, guild_id: GuildId, *, at_once: bool = False) -> None:
        """Loads what the store has, as soon as it can be asked. For when nobody knows which script runs."""
        self._spawn(self._reconcile(guild_id, at_once=at_once))

    # What is stored

    async def _plan(self, request: Deploy, bundle: str, rolled_back_to: str | None) -> _Plan:
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
        return _Plan(deployment=deployment, revision=revision, previous=previous, rolled_back_to=rolled_back_to)

    async def _record_failure(
        self, request: Deploy, error: FloraError, rolled_back_to: str | None, plan: _Plan | None = None
    ) -> None:
        try:
            plan = plan or await self._plan(request, request.bundle or "", rolled_back_to)
            failed = replace(plan.revision, status="failed", error_message=printable(str(error)))
            line = audit_of(failed, "deploy.fail", error=error.code, **plan.audit_details())
            await self._store.record_failure(failed, line)
        except (StorageError, Unavailable) as exc:
            # The deploy's own error is what the author needs; the history has a gap, and the log says so.
            log.error("failed revision not stored: %s", exc, extra={"guild_id": request.guild_id})

    async def _record_success(self, plan: _Plan) -> Recorded:
        guild_id = plan.deployment.guild_id
        action = "deploy.create" if plan.rolled_back_to is None else "deploy.rollback"
        line = audit_of(plan.revision, action, **plan.audit_details())
        try:
            return await self._store.record_success(plan.deployment, plan.revision, line)
        except (StorageError, Unavailable) as exc:
            recorded = await self._was_recorded(plan) if isinstance(exc, Unavailable) else None
            if recorded is not None:
                return recorded
            outcome = await self._put_back(guild_id, plan.previous)
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
            self.reconcile(guild_id)
            return None
        if stored is None or stored.created_at is None or stored.updated_at is None:
            return None
        return Recorded(created_at=stored.created_at, updated_at=stored.updated_at)

    async def _was_removed(self, guild_id: GuildId) -> bool:
        """The same for a deployment that was to be removed."""
        try:
            return await self._scripts.stored(guild_id) is None
        except (StorageError, Unavailable):
            self.reconcile(guild_id)
            return False

    # What runs

    async def _put_back(self, guild_id: GuildId, previous: Deployment | None) -> str:
        """Makes the previous script the running one again. Returns what became of it, for an error text."""
        try:
            with self._step("deploy.put_back", guild_id):
                if previous is None:
                    await self._host.unload(guild_id)
                    self._scripts.of(guild_id).loaded = False
                    return "it was unloaded"
                await self._scripts.run(previous)
        except FloraError as exc:
            log.error("previous script of guild %s not put back: %s", guild_id, exc, extra={"guild_id": guild_id})
            self.reconcile(guild_id)
            return "the previous one could not be loaded again yet"
        return "the previous one runs again"

    async def _reconcile(self, guild_id: GuildId, *, at_once: bool) -> None:
        failures = 0
        while True:
            failures += 1
            if failures > 1 or not at_once:
                await self._scripts.sleep(RECONCILE_BACKOFF.delay_s(failures, self._scripts.rng))
            try:
                async with self._scripts.turns.turn(guild_id):
                    await self._run_stored(guild_id)
            except Unavailable as exc:
                log.warning("guild %s not settled yet: %s", guild_id, exc, extra={"guild_id": guild_id})
                continue
            except FloraError as exc:
                log.error("Failed to load deployment for guild %s: %s", guild_id, exc, extra={"guild_id": guild_id})
            return

    async def _run_stored(self, guild_id: GuildId) -> None:
        stored = await self._store.current(guild_id)
        if stored is not None:
            await self._scripts.run(stored)
            return
        await self._host.unload(guild_id)
        self._scripts.of(guild_id).loaded = False

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
