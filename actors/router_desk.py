"""The router's desk: what the deployer and people ask of it about guilds and workers. Who carries it out is in the modules named below."""

from __future__ import annotations

from flora.actors.base import FloraActor
from flora.actors.router_migrate import Migrations
from flora.actors.router_pool import PoolKeeper
from flora.actors.router_recovery import RouterRecovery
from flora.actors.router_requests import GuildRequests
from flora.actors.router_state import RouterState
from flora.actors.router_views import Views
from flora.messages.base import Address
from flora.messages.cron import ListCronJobs, RunCronJob
from flora.messages.deployment import ListRunning, LoadGuild, ScriptStored, UnloadGuild
from flora.messages.kv import KvCall
from flora.messages.migration import DescribeMoves, MigrateGuild
from flora.messages.placement import DescribeGuild, DescribeGuilds, DescribeWorkers, PlaceGuild
from flora.messages.pool import DescribePool
from flora.messages.secrets import GiveSecrets


class RouterDesk(FloraActor):
    """The handlers of those requests; the rest of the actor, and what it says of itself, is in router.py."""

    def __init__(self) -> None:
        super().__init__()
        self._state: RouterState
        self._requests: GuildRequests
        self._migrations: Migrations
        self._views: Views
        self._pool: PoolKeeper
        self._recovery: RouterRecovery | None = None  # only after a restart

    @property
    def _recovering(self) -> RouterRecovery | None:
        """The recovery while everything waits for it."""
        return self._recovery if self._recovery is not None and self._recovery.waiting else None

    # Deploys

    def receiveMsg_LoadGuild(self, msg: LoadGuild, sender: Address) -> None:
        """Has the guild's worker build the isolate."""
        self._requests.take(msg, msg.reply_to or sender, self._recovering)

    def receiveMsg_ScriptStored(self, msg: ScriptStored, sender: Address) -> None:
        """Running and stored script agree."""
        self._state.unstored.discard(msg.guild_id)

    def receiveMsg_ListRunning(self, msg: ListRunning, sender: Address) -> None:
        """A new deployer learns what its predecessor had loaded."""
        if self._recovering is not None:
            self._recovering.later(lambda: self.receiveMsg_ListRunning(msg, sender))
        else:
            running = tuple(guild_id for guild_id in self._state.subscriptions if guild_id in self._state.lanes)
            self.reply_ok(msg, sender, {"running": running, "unstored": tuple(self._state.unstored)})

    def receiveMsg_UnloadGuild(self, msg: UnloadGuild, sender: Address) -> None:
        """Stops the guild's isolate; an unknown guild is fine."""
        self._requests.take(msg, msg.reply_to or sender, self._recovering)

    def receiveMsg_GiveSecrets(self, msg: GiveSecrets, sender: Address) -> None:
        """A guild's secrets have changed."""
        self._requests.take(msg, msg.reply_to or sender, self._recovering)

    def receiveMsg_KvCall(self, msg: KvCall, sender: Address) -> None:
        """A client's operation on a guild's key-value stores; its worker has them."""
        self._requests.take(msg, msg.reply_to or sender, self._recovering)

    # Cron jobs

    def receiveMsg_ListCronJobs(self, msg: ListCronJobs, sender: Address) -> None:
        """Somebody wants to see a guild's jobs."""
        self._requests.take(msg, msg.reply_to or sender, self._recovering)

    def receiveMsg_RunCronJob(self, msg: RunCronJob, sender: Address) -> None:
        """Somebody wants a job to run now."""
        self._requests.take(msg, msg.reply_to or sender, self._recovering)

    # Moves

    def receiveMsg_MigrateGuild(self, msg: MigrateGuild, sender: Address) -> None:
        """A guild is to run in another worker."""
        if self._recovering is not None:
            self._recovering.later(lambda: self.receiveMsg_MigrateGuild(msg, sender))
        else:
            self._migrations.migrate(msg, msg.reply_to or sender)

    def receiveMsg_DescribeMoves(self, msg: DescribeMoves, sender: Address) -> None:
        """Moves under way, and the last ones."""
        self._migrations.describe(msg, sender)

    # Where guilds run

    def receiveMsg_PlaceGuild(self, msg: PlaceGuild, sender: Address) -> None:
        """An operator says where a guild is to run."""
        self._views.place(msg, msg.reply_to or sender)

    def receiveMsg_DescribeGuild(self, msg: DescribeGuild, sender: Address) -> None:
        """Where a guild runs and how it is."""
        self._views.describe_guild(msg, msg.reply_to or sender)

    def receiveMsg_DescribeGuilds(self, msg: DescribeGuilds, sender: Address) -> None:
        """Where all guilds run and how they are."""
        self._views.describe_guilds(msg, msg.reply_to or sender)

    def receiveMsg_DescribeWorkers(self, msg: DescribeWorkers, sender: Address) -> None:
        """All workers."""
        self._views.describe_workers(msg, msg.reply_to or sender)

    def receiveMsg_DescribePool(self, msg: DescribePool, sender: Address) -> None:
        """How the last change of the pool stands."""
        self._pool.describe(msg, msg.reply_to or sender)
