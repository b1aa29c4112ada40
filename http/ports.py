"""What the HTTP side needs from the rest of the system, as small as it is.

An actor with an asyncio bridge fits `ActorLink`, the Postgres token store fits `TokenStore`; tests pass their own.
Everything here is called on the server's asyncio loop.
"""

from __future__ import annotations

from typing import Any, Protocol

from flora.messages.base import Address, Message, Request
from flora.messages.ids import UserId


class ActorLink(Protocol):
    """A way to other actors."""

    async def ask(self, to: Address, request: Request, limit_s: float = 30) -> Any:
        """`Ok.value` of the reply; raises the `FloraError` that a `Failed` stands for. `limit_s` 0: wait for ever."""

    def tell(self, to: Address, message: Message) -> None:
        """Sends and forgets."""


class TokenStore(Protocol):
    """Whose API token is this?"""

    async def authenticate(self, plaintext: str) -> UserId | None:
        """The token's owner, or None. Raises StorageError or Unavailable when it cannot be known."""
