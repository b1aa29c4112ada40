"""What the HTTP side needs from the rest of the system, as small as it is.

An actor with an asyncio bridge fits `ActorLink`, the Postgres token store fits `TokenStore`; tests pass their own.
Everything here is called on the server's asyncio loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from flora.messages.base import Address, Message, Request
from flora.messages.deployment import DeployActor
from flora.messages.ids import GuildId, UserId


class ActorLink(Protocol):
    """A way to other actors."""

    async def ask(self, to: Address, request: Request, limit_s: float = 30) -> Any:
        """`Ok.value` of the reply; raises the `FloraError` that a `Failed` stands for. `limit_s` 0: wait for ever."""

    def tell(self, to: Address, message: Message) -> None:
        """Sends and forgets."""


class AuditTrail(Protocol):
    """Where to tell of changes that are made here; what is made by another actor, that actor tells of."""

    def record(
        self,
        guild_id: GuildId | None,
        actor: DeployActor,
        action: str,
        target: str,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Returns at once and never fails. Call it after the change; never with the value of a secret."""


class TokenStore(Protocol):
    """Whose API token is this?"""

    async def authenticate(self, plaintext: str) -> UserId | None:
        """The token's owner, or None. Raises StorageError or Unavailable when it cannot be known."""
