"""What the HTTP side needs from the rest of the system, as small as it is.

An actor with an asyncio bridge fits `ActorLink`, the Postgres token store fits `TokenStore`; tests pass their own.
Everything here is called on the server's asyncio loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from flora.messages.base import Address, Message, Request
from flora.messages.deployment import DeployActor
from flora.messages.ids import GuildId, UserId
from flora.storage.ports import TokenRecord


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
    """API tokens, as `flora.storage.ports.TokenStore` describes them."""

    async def authenticate(self, plaintext: str) -> UserId | None:
        """The token's owner, or None. Raises StorageError or Unavailable when it cannot be known."""

    async def create(self, user_id: UserId, label: str | None, expires_at: datetime | None = None) -> str:
        """A new token's plaintext. Raises Conflict when the user has too many."""

    async def list(self, user_id: UserId) -> Sequence[TokenRecord]:
        """The user's tokens, newest first."""

    async def delete(self, user_id: UserId, token_id: str) -> bool:
        """False: this user has no such token."""
