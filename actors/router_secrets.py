"""The router's part that passes a guild's secrets on when they have changed.

They go to the worker that has the guild; while it moves they wait as everything does (router_line.py). Nothing is kept here: what a
worker that is away would have missed, the deployer gives again; and with every load the secrets come anew.
"""

from __future__ import annotations

from dataclasses import replace

from flora.actors.base import FloraActor
from flora.actors.router_state import RouterState
from flora.messages.base import Address, Failed, Ok
from flora.messages.errors import WorkerGone
from flora.messages.secrets import GiveSecrets
from flora.messages.trace import sent_anew

GIVE_LIMIT_S = 10.0


class SecretPasser:
    """`shell` is the router: it sends and asks."""

    def __init__(self, shell: FloraActor, state: RouterState) -> None:
        self._shell = shell
        self._state = state

    def give(self, msg: GiveSecrets, asker: Address) -> None:
        """Answered when the guild's worker has them. A guild that runs nowhere is fine."""
        if msg.guild_id not in self._state.routes:
            self._shell.reply_ok(msg, asker, False)
            return
        end = self._state.workers.get(self._state.routes.lookup(msg.guild_id))
        if end is None or end.address is None:
            why = WorkerGone("the guild's worker is being started; try again")
            self._shell.reply_failed(msg, asker, why)
            return

        def arrived(reply: Ok | Failed) -> None:
            self._shell.send(asker, replace(reply, req_id=msg.req_id, trace=msg.trace))

        self._shell.ask(end.address, replace(msg, trace=sent_anew(msg.trace)), arrived, GIVE_LIMIT_S)
