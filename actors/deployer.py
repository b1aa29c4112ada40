"""The deployer: the only actor that changes which script a guild runs, and what is stored about it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any

from flora.actors.audit_pruning import keep_pruned
from flora.actors.audit_trail import AuditTrail
from flora.actors.base import DEFERRED, FloraActor
from flora.actors.cron_book import CronBook
from flora.actors.deploy_service import DeployService
from flora.actors.deployer_figures import DeployerFigures
from flora.actors.peer_calls import PeerCalls
from flora.actors.peer_host import NO_ID, PeerHost
from flora.actors.placement_book import Noted, PlacementBook
from flora.actors.restore import Outcome
from flora.actors.secret_service import SecretService
from flora.actors.starter import load_starter
from flora.actors.trace_steps import TraceSteps
from flora.messages.audit import AuditLine, ReadAudit, RecordAudit
from flora.messages.base import Address, Ok, Request
from flora.messages.cron import AdoptCronJobs, CronRun, NoteCronRuns
from flora.messages.deployment import (
    BringUpGuilds,
    Deploy,
    GetDeployment,
    GetRevision,
    ListDeployments,
    ListRevisions,
    ListRunning,
    ListWantedGuilds,
    ReloadGuilds,
    RestoreDeployments,
    RollBack,
    Undeploy,
)
from flora.messages.errors import BugError, ConfigError, FloraError
from flora.messages.gateway import GuildJoined, GuildLeft, GuildsPresent
from flora.messages.ids import GuildId
from flora.messages.kv import NoteKvStores
from flora.messages.lifecycle import Drain, Peers, Start
from flora.messages.placement import NotePlacement, ReadPlacements
from flora.messages.secret_changes import DeleteSecret, ListSecrets, PutSecret, RotateSecrets
from flora.messages.secrets import GiveSecrets, GuildSecrets
from flora.messages.settings import RuntimeSettings, SecretsSettings, Settings
from flora.storage.ports import AuditLog, KvIndex
from flora.storage.postgres import (
    Database,
    PostgresAuditLog,
    PostgresCronRunStore,
    PostgresDeploymentStore,
    PostgresKvIndex,
    PostgresPlacementStore,
    PostgresSecretStore,
)
from flora.storage.secret_cipher import KeyRing

log = logging.getLogger(__name__)

LOAD_MARGIN_S = 30.0
CLOSE_LIMIT_S = 1.0
PROGRESS_EVERY_S = 0.25
GIVE_SECRETS_LIMIT_S = 15.0  # the router's own is shorter
ROUTER_KNOWS_LIMIT_S = 8.0  # one that is recovering itself takes up to 5 s
DRAIN_SHARE = 0.9  # of the time given: the rest is for closing and for the reply


class Deployer(FloraActor):
    """Owns tables `deployments`, `deployment_revisions`, `guild_placements`, `guild_secrets`, `audit_log`, `kv_stores`,
    `cron_runs`, and the order of deploys per guild.

    Receives   Deploy, RollBack, Undeploy, GetDeployment, ListDeployments, ListRevisions, GetRevision, ReadAudit (front-end),
               PutSecret, DeleteSecret, ListSecrets, RotateSecrets (front-end), RecordAudit (anybody), NoteKvStores (workers),
               RestoreDeployments, BringUpGuilds (runtime), ReloadGuilds, NotePlacement, ReadPlacements (router),
               AdoptCronJobs, NoteCronRuns (workers),
               GuildJoined, GuildLeft, GuildsPresent (gateway)
    Sends      Compile (compiler), LoadGuild, UnloadGuild, GiveSecrets, ScriptStored, ListRunning (router), RestoreProgress (runtime);
               Ok, Failed (caller)
    State      the deploys under way and a cache of compiled scripts; the rest is in Postgres.
    Supervises nothing. A deploy under way when this actor dies is settled by the next one: what is stored is loaded.
    Fails      Postgres away → StorageError or Unavailable, the previous script runs again; compiler or router
               restarting → waits a moment, then Unavailable.
    """

    uses_bridge = True

    def __init__(self) -> None:
        super().__init__()
        self._service: DeployService
        self._placements: PlacementBook
        self._audit: AuditLog
        self._kv_index: KvIndex
        self._trail: AuditTrail
        self._secrets: SecretService
        self._cron: CronBook
        self._figures = DeployerFigures()
        self._database: Database | None = None
        self._compiler: PeerCalls
        self._router: PeerCalls
        self._asker: Address = None  # who sent the Start that is being handled

    # Life

    def receiveMsg_Start(self, msg: Start, sender: Address) -> None:
        self._asker = sender
        super().receiveMsg_Start(msg, sender)

    def on_start(self, msg: Start) -> object:
        if msg.settings.database.url is None:
            raise ConfigError("database.url (DATABASE_URL) is not set and no embedded server was started")
        self._compiler = PeerCalls(self.bridge, "compiler")
        self._router = PeerCalls(self.bridge, "router")
        self.on_peers(msg.peers)
        self._answer(msg, self._asker, self._open(msg.settings.database.url, msg.settings))
        return DEFERRED

    async def _open(self, url: str, settings: Settings) -> dict[str, Any]:
        runtime = settings.runtime
        self._database = Database(url, max_connections=settings.database.max_connections)
        await self._database.open()
        self._placements = PlacementBook(PostgresPlacementStore(self._database))
        await self._placements.open()
        self._cron = CronBook(PostgresCronRunStore(self._database))
        self._audit = PostgresAuditLog(self._database)
        self._go(keep_pruned(self._audit, settings.audit))
        self._kv_index = PostgresKvIndex(self._database)
        self._trail = AuditTrail(self._audit.record)
        self._secrets = SecretService(
            PostgresSecretStore(self._database), key_ring(settings.secrets), self._give_secrets, self._trail
        )
        self._service = DeployService(
            PostgresDeploymentStore(self._database, settings.deployments.keep_revisions),
            PeerHost(self._compiler, self._router, self._placements, self._secrets, load_limit_s(runtime)),
            max_script_bytes=runtime.max_script_bytes,
            workers=runtime.max_workers,
            starter=load_starter,
            trace=TraceSteps(self.tracer, self.name),
        )
        await self._take_over()
        return {"pid": os.getpid()}

    async def _take_over(self) -> None:
        """At boot nothing runs; after the death of another deployer everything does, and is left alone."""
        try:
            found = await self._router.ask(ListRunning(req_id=NO_ID), ROUTER_KNOWS_LIMIT_S)
        except FloraError as exc:
            log.warning("what runs is not known: %s", exc, extra={"action": "take_over_failed"})
        else:
            self._service.adopt(found["running"], found["unstored"])
            self._secrets.refresh(found["running"])

    async def _give_secrets(self, guild_id: GuildId, secrets: GuildSecrets) -> None:
        await self._router.ask(GiveSecrets(req_id=NO_ID, guild_id=guild_id, secrets=secrets), GIVE_SECRETS_LIMIT_S)

    def on_peers(self, peers: Peers) -> None:
        self.bridge.call(self._meet, peers)

    def _meet(self, peers: Peers) -> None:
        self._compiler.moved(peers.compiler)
        self._router.moved(peers.router)

    def metrics(self) -> dict[str, Any]:
        return {"series": self._figures.samples()}

    def receiveMsg_Drain(self, msg: Drain, sender: Address) -> None:
        self._answer(msg, sender, self._drain(msg.limit_s))

    async def _drain(self, limit_s: float) -> None:
        if not await self._service.drain(limit_s * DRAIN_SHARE):
            log.warning("deploys were cut off by the shutdown", extra={"action": "deploys_cut_off"})
        self._secrets.stop()
        await self._trail.written(CLOSE_LIMIT_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await self._placements.written()
                await self._cron.written()

    def on_stop(self) -> None:
        try:
            self.bridge.submit(self._close()).result(CLOSE_LIMIT_S)
        except (TimeoutError, concurrent.futures.CancelledError):
            log.warning("stopped without closing every connection", extra={"action": "stop_late"})

    async def _close(self) -> None:
        if self._database is not None:
            await self._database.close()

    # Requests

    def receiveMsg_Deploy(self, msg: Deploy, sender: Address) -> None:
        """Deploys; goes on to a definite end also when the asker is gone."""
        self._answer(msg, sender, self._figures.timed("deploy", self._service.deploy(msg)))

    def receiveMsg_RollBack(self, msg: RollBack, sender: Address) -> None:
        """Deploys what an earlier revision stored; as definite as a deploy."""
        self._answer(msg, sender, self._figures.timed("rollback", self._service.roll_back(msg)))

    def receiveMsg_Undeploy(self, msg: Undeploy, sender: Address) -> None:
        """Takes a guild's script away; as definite as a deploy."""
        self._answer(msg, sender, self._figures.timed("undeploy", self._service.undeploy(msg)))

    def receiveMsg_ListRevisions(self, msg: ListRevisions, sender: Address) -> None:
        """One page of a guild's history."""
        self._answer(msg, sender, self._service.history(msg))

    def receiveMsg_GetRevision(self, msg: GetRevision, sender: Address) -> None:
        """One attempt to deploy."""
        self._answer(msg, sender, self._service.revision(msg))

    def receiveMsg_GetDeployment(self, msg: GetDeployment, sender: Address) -> None:
        """One guild's deployment as it is shown."""
        self._answer(msg, sender, self._service.describe(msg.guild_id, include_bundle=msg.include_bundle))

    def receiveMsg_ListDeployments(self, msg: ListDeployments, sender: Address) -> None:
        """All deployments, without code."""
        self._answer(msg, sender, self._service.summaries())

    def receiveMsg_RestoreDeployments(self, msg: RestoreDeployments, sender: Address) -> None:
        """At boot: loads what is stored, and says how far it is."""
        asker = msg.reply_to or sender
        last_s = 0.0

        def report(outcome: Outcome) -> None:
            nonlocal last_s
            now_s = time.monotonic()
            if now_s - last_s >= PROGRESS_EVERY_S:
                last_s = now_s
                self.bridge.tell(asker, outcome.as_progress())

        self._answer(msg, sender, self._service.restore(report))

    def receiveMsg_ReloadGuilds(self, msg: ReloadGuilds, sender: Address) -> None:
        """These guilds lost their isolate."""
        self._answer(msg, sender, self._service.reload(msg.guild_ids))

    def receiveMsg_ListWantedGuilds(self, msg: ListWantedGuilds, sender: Address) -> None:
        """A router that was restarted compares this with what runs."""
        self._answer(msg, sender, self._list_wanted())

    async def _list_wanted(self) -> tuple[GuildId, ...]:
        return self._service.wanted()

    def receiveMsg_BringUpGuilds(self, msg: BringUpGuilds, sender: Address) -> None:
        """All guilds of READY; see `DeployService.joined`."""
        self._answer(msg, sender, self._bring_up(msg.guild_ids))

    async def _bring_up(self, guild_ids: tuple[GuildId, ...]) -> None:
        await asyncio.gather(*(self._service.joined(guild_id) for guild_id in guild_ids))

    def receiveMsg_GuildJoined(self, msg: GuildJoined, sender: Address) -> None:
        """The bot is in this guild; see `DeployService.joined`."""
        self._go(self._service.joined(msg.guild_id))

    def receiveMsg_GuildLeft(self, msg: GuildLeft, sender: Address) -> None:
        """The bot was removed from this guild."""
        self._go(self._service.left(msg.guild_id))

    def receiveMsg_GuildsPresent(self, msg: GuildsPresent, sender: Address) -> None:
        """What came and went before this actor lived."""
        self._go(self._service.present(msg.guild_ids, complete=msg.complete))

    def receiveMsg_NotePlacement(self, msg: NotePlacement, sender: Address) -> None:
        """Where a guild is to run from now on."""
        self.bridge.call(self._placements.note, msg, time.time())

    def receiveMsg_NoteKvStores(self, msg: NoteKvStores, sender: Address) -> None:
        """A worker says which key-value stores a guild has."""
        self._answer(msg, sender, self._kv_index.replace(msg.guild_id, msg.stores))

    def receiveMsg_NoteCronRuns(self, msg: NoteCronRuns, sender: Address) -> None:
        """Cron jobs that ran."""
        self.bridge.call(self._note_cron_runs, msg.runs)

    def _note_cron_runs(self, runs: tuple[CronRun, ...]) -> None:
        self._cron.note(runs)

    def receiveMsg_AdoptCronJobs(self, msg: AdoptCronJobs, sender: Address) -> None:
        """A worker has a guild's jobs, and wants to know when they ran last."""
        self._answer(msg, sender, self._adopt_cron_jobs(msg))

    async def _adopt_cron_jobs(self, msg: AdoptCronJobs) -> tuple[CronRun, ...]:
        return await self._cron.adopt(msg.guild_id, msg.runs)

    def receiveMsg_ReadPlacements(self, msg: ReadPlacements, sender: Address) -> None:
        """A router wants to know which guilds are pinned or quarantined."""
        self._answer(msg, sender, self._read_placements())

    async def _read_placements(self) -> tuple[Noted, ...]:
        return self._placements.all()

    def receiveMsg_PutSecret(self, msg: PutSecret, sender: Address) -> None:
        """Stores a secret, and has the guild's worker go by it."""
        self._answer(msg, sender, self._figures.changes("set", self._secrets.put(msg)))

    def receiveMsg_DeleteSecret(self, msg: DeleteSecret, sender: Address) -> None:
        """Forgets a secret, here and in the guild's worker."""
        self._answer(msg, sender, self._figures.changes("delete", self._secrets.delete(msg)))

    def receiveMsg_ListSecrets(self, msg: ListSecrets, sender: Address) -> None:
        """Names and hosts of a guild's secrets."""
        self._answer(msg, sender, self._secrets.list(msg.guild_id))

    def receiveMsg_RotateSecrets(self, msg: RotateSecrets, sender: Address) -> None:
        """Encrypts all secrets under the current key."""
        self._answer(msg, sender, self._figures.rotates(self._secrets.rotate(msg.actor)))

    def receiveMsg_RecordAudit(self, msg: RecordAudit, sender: Address) -> None:
        """Somebody changed something that is not ours."""
        self._answer(msg, sender, self._audit.record(msg.lines))

    def receiveMsg_ReadAudit(self, msg: ReadAudit, sender: Address) -> None:
        """One page of who changed what."""
        self._answer(msg, sender, self._read_audit(msg))

    async def _read_audit(self, msg: ReadAudit) -> tuple[AuditLine, ...]:
        return tuple(await self._audit.page(msg.limit, msg.before, msg.guild_id))

    def _answer(self, request: Request, sender: Address, work: Coroutine[Any, Any, Any]) -> None:
        """Runs `work` on the loop; its result or error becomes the reply."""
        self.bridge.submit(self._reply_with(request, request.reply_to or sender, work))

    async def _reply_with(self, request: Request, asker: Address, work: Coroutine[Any, Any, Any]) -> None:
        try:
            value = await work
        except FloraError as exc:
            self.bridge.tell(asker, replace(exc.as_failed(request.req_id), trace=request.trace))
        except Exception:
            kind = type(request).__name__
            log.exception("%s failed", kind, extra={"action": "bug"})
            error = BugError(f"the deployer failed while handling {kind}; see its log")
            self.bridge.tell(asker, replace(error.as_failed(request.req_id), trace=request.trace))
        else:
            self.bridge.tell(asker, Ok(req_id=request.req_id, value=value, trace=request.trace))

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` on the loop; nobody waits for it."""
        self.bridge.submit(work).add_done_callback(_log_failure)


def key_ring(settings: SecretsSettings) -> KeyRing:
    """The configured keys.

    Raises:
        ConfigError: there is none, or one of another length.
    """
    try:
        return KeyRing(settings.master_key, settings.previous_keys)
    except ValueError as exc:
        raise ConfigError(f"secrets.master_key (SECRETS_MASTER_KEY), secrets.previous_keys: {exc}") from exc


def load_limit_s(runtime: RuntimeSettings) -> float:
    """How long one load may take until nobody expects an answer any more; 0: for ever, as the settings say.

    The router waits for a worker that is being restarted and has a limit of its own; this one is longer, so that its
    answer is heard.
    """
    if not runtime.boot_timeout_s or not runtime.load_timeout_s:
        return 0.0
    return 2 * (runtime.boot_timeout_s + runtime.load_timeout_s) + LOAD_MARGIN_S


def _log_failure(done: concurrent.futures.Future[None]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.error("work for a guild failed", exc_info=error, extra={"action": "bug"})
