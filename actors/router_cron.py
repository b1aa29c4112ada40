"""The router's part that takes people's questions about cron jobs to the worker that runs them."""

from __future__ import annotations

from dataclasses import replace

from flora.actors.base import FloraActor
from flora.actors.router_state import RouterState
from flora.messages.base import Address, Failed, Ok
from flora.messages.cron import ListCronJobs, RunCronJob
from flora.messages.errors import NotFound, Unavailable

LIST_LIMIT_S = 5.0
RUN_MARGIN_S = 5.0  # beside the run's own limit: it may have to wait, and its isolate may have to be closed


class CronCalls:
    """Passes a request on, and its answer back. `shell` is the router."""

    def __init__(self, shell: FloraActor, state: RouterState) -> None:
        self._shell = shell
        self._state = state

    def pass_on(self, msg: ListCronJobs | RunCronJob, asker: Address) -> None:
        """Answered by the guild's worker; at once where none has the guild's script now."""
        lane = self._state.lanes.get(msg.guild_id)
        if lane is None:
            gone = NotFound("this guild has no script that runs", guild_id=msg.guild_id)
            self._shell.reply_failed(msg, asker, gone)
            return
        end = self._state.workers.get(lane.worker)
        if lane.held or end is None or end.address is None:
            busy = Unavailable("the guild's script is being loaded; try again", guild_id=msg.guild_id)
            self._shell.reply_failed(msg, asker, busy)
            return

        def answered(reply: Ok | Failed) -> None:
            self._shell.send(asker, replace(reply, req_id=msg.req_id))

        self._shell.ask(end.address, msg, answered, self._limit_s(msg))

    def _limit_s(self, msg: ListCronJobs | RunCronJob) -> float:
        if isinstance(msg, ListCronJobs):
            return LIST_LIMIT_S
        limit_s = self._shell.settings.runtime.cron_timeout_s
        return limit_s + RUN_MARGIN_S if limit_s else 0
