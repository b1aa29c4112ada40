"""Asking other actors by role, across their restarts.

An actor that dies never answers. Whoever waits for it is told as soon as its replacement is announced, so that a
question without a time limit (a deploy) still has an end.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal, get_args

from flora.http.ports import ActorLink
from flora.messages.base import Message, Request
from flora.messages.errors import Unavailable
from flora.messages.lifecycle import Peers

Role = Literal["runtime", "http", "router", "gateway", "deployer", "compiler", "cron", "log_book"]


class PeerBook:
    """Who plays which role now. Used on the server's asyncio loop only."""

    def __init__(self, link: ActorLink, peers: Peers) -> None:
        self._link = link
        self._peers = peers
        self._gone: dict[Role, asyncio.Event] = {role: asyncio.Event() for role in get_args(Role)}

    def change(self, peers: Peers) -> list[Role]:
        """Takes over a new set of addresses; returns the roles whose actor is another one now."""
        changed: list[Role] = [role for role in self._gone if getattr(peers, role) != getattr(self._peers, role)]
        self._peers = peers
        for role in changed:
            self._gone[role].set()
            self._gone[role] = asyncio.Event()
        return changed

    async def ask(self, role: Role, request: Request, limit_s: float) -> Any:
        """Asks whoever plays `role`.

        Args:
            role: Which actor.
            request: Its `req_id` is filled in on the way.
            limit_s: How long to wait for the reply; 0: as long as that actor lives.
        Raises:
            Unavailable: nobody plays the role now, or its actor was replaced meanwhile.
            FloraError: what the reply says.
        """
        address = getattr(self._peers, role)
        if address is None:
            raise Unavailable(f"the {_title(role)} is not running yet; try again in a moment", role=role)
        answer = asyncio.ensure_future(self._link.ask(address, request, limit_s))
        gone = asyncio.ensure_future(self._gone[role].wait())
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            raise Unavailable(f"the {_title(role)} was restarted before it answered; try again", role=role)
        finally:
            answer.cancel()
            gone.cancel()

    def tell(self, role: Role, message: Message) -> None:
        """Sends to whoever plays `role`; with nobody there the message is dropped."""
        address = getattr(self._peers, role)
        if address is not None:
            self._link.tell(address, message)


def _title(role: Role) -> str:
    return role.replace("_", " ")
