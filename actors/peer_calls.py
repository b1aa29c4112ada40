"""Questions from an asyncio loop to another actor that may be restarted meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from flora.messages.base import Address, Message, Request
from flora.messages.errors import TimedOut, Unavailable

PRESENCE_LIMIT_S = 15.0  # how long to wait for a peer that is being restarted


class Asking(Protocol):
    """The part of `AsyncBridge` that is needed here."""

    async def ask(self, to: Address, request: Request, limit_s: float = 30) -> Any:
        """Sends a request and waits for its answer."""

    def tell(self, to: Address, message: Message) -> None:
        """Sends a message."""


class PeerCalls:
    """One peer, by its role. Lives on the loop.

    An actor's death is known to its parent within milliseconds, so nobody need wait for the end of a long limit.
    """

    def __init__(self, bridge: Asking, role: str, presence_limit_s: float = PRESENCE_LIMIT_S) -> None:
        self._bridge = bridge
        self._role = role
        self._presence_limit_s = presence_limit_s
        self._address: Address | None = None
        self._present = asyncio.Event()
        self._under_way: set[asyncio.Task[Any]] = set()

    def moved(self, address: Address | None) -> None:
        """The peer was started, restarted, or is gone (None). What was asked at its old address ends with TimedOut."""
        if address == self._address:
            return
        self._address = address
        if address is None:
            self._present.clear()
        else:
            self._present.set()
        for task in self._under_way:
            task.cancel()

    async def ask(self, request: Request, limit_s: float) -> Any:
        """The answer's value.

        Args:
            limit_s: From sending to the answer; 0 for ever.
        Raises:
            Unavailable: the peer is not there; nothing was sent.
            TimedOut: it was sent, and no answer will come: it may have been carried out or not.
            FloraError: what the peer answered.
        """
        address = await self._wait_for_address()
        task = asyncio.ensure_future(self._bridge.ask(address, request, limit_s))
        self._under_way.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            asker = asyncio.current_task()
            if asker is not None and asker.cancelling():
                raise
            raise TimedOut(f"the {self._role} was restarted before it answered", peer=self._role) from None
        finally:
            self._under_way.discard(task)

    def tell(self, message: Message) -> None:
        """Sends, if the peer is there."""
        if self._address is not None:
            self._bridge.tell(self._address, message)

    async def _wait_for_address(self) -> Address:
        try:
            async with asyncio.timeout(self._presence_limit_s):
                await self._present.wait()
        except TimeoutError:
            raise Unavailable(f"the {self._role} is not running; try again", peer=self._role) from None
        return self._address
