"""The router's part that passes a guild's secrets on when they have changed.

They go to the worker that has the guild, and while it moves to both. Nothing is kept here: what a worker that is away would have
missed, the deployer gives again; and with every load the secrets come anew.
"""

from __future__ import annotations

from flora.actors.base import FloraActor
from flora.actors.router_places import Places
from flora.actors.router_state import RouterState, WorkerEnd
from flora.messages.base import Address, Failed, Ok
from flora.messages.errors import WorkerGone, error_from
from flora.messages.ids import ReqId
from flora.messages.secrets import GiveSecrets
from flora.messages.trace import sent_anew

GIVE_LIMIT_S = 10.0


class SecretPasser:
    """`shell` is the router: it sends and asks."""

    def __init__(self, shell: FloraActor, state: RouterState, places: Places) -> None:
        self._shell = shell
        self._state = state
        self._places = places

    def give(self, msg: GiveSecrets, asker: Address) -> None:
        """Answered when every worker concerned has them. A guild that runs nowhere is fine."""
        if msg.guild_id not in self._state.routes:
            self._shell.reply_ok(msg, asker, False)
            return
        numbers = {self._state.routes.lookup(msg.guild_id), self._places.moves.source_of(msg.guild_id)}
        ends = [self._state.workers[number] for number in numbers if number in self._state.workers]
        if any(end.address is None for end in ends):
            why = WorkerGone("the guild's worker is being started; try again")
            self._shell.reply_failed(msg, asker, why)
        else:
            self._ask(msg, asker, ends)

    def _ask(self, msg: GiveSecrets, asker: Address, ends: list[WorkerEnd]) -> None:
        replies: list[Ok | Failed] = []

        def arrived(reply: Ok | Failed) -> None:
            replies.append(reply)
            if len(replies) < len(ends):
                return
            failed = next((reply for reply in replies if isinstance(reply, Failed)), None)
            if failed is not None:
                self._shell.reply_failed(msg, asker, error_from(failed))
            else:
                self._shell.reply_ok(msg, asker, any(isinstance(reply, Ok) and reply.value for reply in replies))

        for end in ends:
            request = GiveSecrets(
                req_id=ReqId(""), guild_id=msg.guild_id, secrets=msg.secrets, trace=sent_anew(msg.trace)
            )
            self._shell.ask(end.address, request, arrived, GIVE_LIMIT_S)
