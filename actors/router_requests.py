"""The router's part that decides whether a request for a guild waits (for the recovery, for its guild's move) or is done now."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flora.actors.router_cron import CronCalls
from flora.actors.router_kv import WAIT_LIMIT_S, KvCalls
from flora.actors.router_line import Line
from flora.actors.router_loads import Loads
from flora.actors.router_recovery import RouterRecovery
from flora.actors.router_secrets import SecretPasser
from flora.messages.base import Address
from flora.messages.cron import ListCronJobs, RunCronJob
from flora.messages.deployment import LoadGuild, UnloadGuild
from flora.messages.ids import GuildId
from flora.messages.kv import KvCall
from flora.messages.kv_exports import KvExportOperation
from flora.messages.secrets import GiveSecrets

GuildRequest = LoadGuild | UnloadGuild | GiveSecrets | KvCall | ListCronJobs | RunCronJob
R = TypeVar("R", LoadGuild, UnloadGuild, GiveSecrets, KvCall, ListCronJobs | RunCronJob)


class GuildRequests:
    """Requests that concern one guild, on their way to the part that carries them out."""

    def __init__(self, line: Line, loads: Loads, secrets: SecretPasser, kv: KvCalls, cron: CronCalls) -> None:
        self._line = line
        self._loads = loads
        self._secrets = secrets
        self._kv = kv
        self._cron = cron

    def take(self, msg: GuildRequest, asker: Address, recovery: RouterRecovery | None) -> None:
        """Has a request carried out, now or when it is its turn; it is answered in either case.

        Args:
            recovery: The one that everything waits for, if there is one.
        """
        if recovery is not None:
            recovery.later(lambda: self.take(msg, asker, None))
            return
        match msg:
            case LoadGuild():  # as long as it takes: whoever asked has the guild's turn, and tells what became of it
                self._pass(msg, asker, self._loads.load)
            case UnloadGuild():
                self._pass(msg, asker, self._loads.unload)
            case GiveSecrets():
                self._pass(msg, asker, self._secrets.give, limit_s=WAIT_LIMIT_S)
            case KvCall():
                # An export takes minutes, and nothing that comes after it depends on it.
                is_barrier = not isinstance(msg.operation, KvExportOperation)
                self._pass(msg, asker, self._kv.call, is_barrier=is_barrier, limit_s=WAIT_LIMIT_S)
            case ListCronJobs() | RunCronJob():  # a run of a job holds nothing back at other times either
                self._pass(msg, asker, self._cron.pass_on, is_barrier=False, limit_s=WAIT_LIMIT_S)

    def _pass(
        self,
        msg: R,
        asker: Address,
        do: Callable[[R, Address], None],
        *,
        is_barrier: bool = True,
        limit_s: float = 0,
    ) -> None:
        guild_id = GuildId(msg.guild_id)
        if not self._line.takes(guild_id, msg, asker, do, is_barrier=is_barrier, limit_s=limit_s):
            do(msg, asker)
