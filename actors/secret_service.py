"""Guild secrets as they are stored, and their way to the workers. In the deployer's process, on its loop.

A change is stored first, then the running script's worker gets the guild's whole set. If that does not work at once, the change
stands, the caller hears that it is not delivered yet, and it is tried again until it is; what is given is read anew each time.
A set that a load took along may be older than a change that came meanwhile: after the load it is given again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from flora.actors.guild_secrets.checks import MAX_SECRETS, check_name, check_value, checked_hosts
from flora.actors.guild_turns import GuildTurns
from flora.messages.deployment import DeployActor
from flora.messages.errors import BadRequest, Conflict, FloraError, StorageError, Unavailable
from flora.messages.ids import GuildId
from flora.messages.secret_changes import DeleteSecret, PutSecret
from flora.messages.secrets import GuildSecrets, LiveSecret
from flora.storage.backoff import Backoff
from flora.storage.ports import SecretStore, StoredSecret
from flora.storage.secret_cipher import KeyRing, Unreadable

log = logging.getLogger(__name__)

DELIVERY_WAIT_S = 5.0  # so long who made a change waits for it to arrive
DELIVERY_BACKOFF = Backoff(first_s=0.5, cap_s=30.0)
MAX_WAITING_PER_GUILD = 20
BATCH = 100
UNREADABLE_SHOWN = 100
WARNINGS_KEPT = 10_000

Give = Callable[[GuildId, GuildSecrets], Awaitable[object]]
"""Hands a set to whoever runs the guild; returns when it has arrived. Raises `FloraError`."""


class Audit(Protocol):
    """Takes lines for the audit log; see `AuditTrail`."""

    def record(
        self, guild_id: GuildId | None, actor: DeployActor, action: str, target: str, details: dict[str, Any]
    ) -> None:
        """Returns at once, never fails."""


@dataclass(frozen=True, slots=True)
class LoadedWith:
    """What a load takes along."""

    secrets: GuildSecrets | None  # None: they could not be read
    changes: int


class SecretService:
    """Stores, lists, rotates, delivers."""

    def __init__(
        self,
        store: SecretStore,
        keys: KeyRing,
        give: Give,
        audit: Audit,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._keys = keys
        self._give = give
        self._audit = audit
        self._sleep = sleep
        self._rng = random.Random()
        self._turns = GuildTurns(MAX_WAITING_PER_GUILD, "changes of secrets")
        self._changes: dict[GuildId, int] = {}  # made by this process
        self._deliveries: dict[GuildId, asyncio.Task[None]] = {}
        self._refreshing: asyncio.Task[None] | None = None
        self._warned: OrderedDict[tuple[GuildId, str, bytes], None] = OrderedDict()
        self._rotating = False

    # What people ask for

    async def put(self, request: PutSecret) -> dict[str, Any]:
        """Stores a secret; see `PutSecret`."""
        guild_id, name = request.guild_id, request.name
        check_name(name)
        check_value(request.value)
        hosts = checked_hosts(request.allowed_hosts)
        async with self._turns.turn(guild_id, bounded=True):
            names = {row.name for row in await self._store.of_guild(guild_id)}
            if name not in names and len(names) >= MAX_SECRETS:
                raise BadRequest(f"a guild can have {MAX_SECRETS} secrets; delete one first", max=MAX_SECRETS)
            await self._change(guild_id, self._store.put(guild_id, name, self._sealed(request), hosts))
        self._audit.record(guild_id, request.actor, "secret.set", name, {"allowed_hosts": list(hosts)})
        return {"name": name, "allowed_hosts": list(hosts), "delivered": await self._deliver(guild_id)}

    def _sealed(self, request: PutSecret) -> Any:
        return self._keys.seal(request.guild_id, request.name, request.value)

    async def delete(self, request: DeleteSecret) -> dict[str, Any]:
        """Forgets a secret; one that is not there is fine."""
        guild_id = request.guild_id
        async with self._turns.turn(guild_id, bounded=True):
            may_be = "\0" not in request.name  # no name has that, and Postgres would not even look
            was_there = may_be and await self._change(guild_id, self._store.delete(guild_id, request.name))
        if was_there:
            self._audit.record(guild_id, request.actor, "secret.delete", request.name, {})
        return {"deleted": True, "delivered": await self._deliver(guild_id)}

    async def _change(self, guild_id: GuildId, write: Awaitable[bool | None]) -> bool | None:
        try:
            return await write
        except Unavailable:
            self._deliver_later(guild_id)  # it may have happened
            raise
        finally:
            self._changes[guild_id] = self._changes.get(guild_id, 0) + 1

    async def list(self, guild_id: GuildId) -> list[dict[str, Any]]:
        """Names and hosts, never values."""
        return [
            {"name": row.name, "allowed_hosts": list(row.allowed_hosts), "readable": self._open(row) is not None}
            for row in await self._store.of_guild(guild_id)
        ]

    async def rotate(self, actor: DeployActor) -> dict[str, Any]:
        """Encrypts everything anew that is not under the current key, row by row; see `RotateSecrets`.

        What a caller writes meanwhile is under the current key already and is left alone.
        """
        if self._rotating:
            raise Conflict("secrets are being rotated already; ask again when that is done")
        self._rotating = True
        try:
            found = await self._rotate()
        finally:
            self._rotating = False
        counts = {name: value for name, value in found.items() if name != "unreadable"}
        self._audit.record(None, actor, "secret.rotate", self._keys.current_id, counts)
        log.info("secrets rotated", extra={"action": "secrets_rotated", **counts})
        return found

    async def _rotate(self) -> dict[str, Any]:
        rotated = bound = 0
        unreadable: list[dict[str, str]] = []
        after: str | None = None
        while rows := await self._store.under_other_keys(self._keys.current_id, after=after, limit=BATCH):
            for row in rows:
                value = self._open(row)
                if value is None:
                    unreadable.append({"guild_id": row.guild_id, "name": row.name})
                elif await self._store.reseal(row, self._keys.seal(row.guild_id, row.name, value)):
                    rotated += 1
                    bound += row.sealed.key_id is None
            after = rows[-1].secret_id
        return {
            "key_id": self._keys.current_id,
            "rotated": rotated,
            "bound": bound,
            "unreadable": unreadable[:UNREADABLE_SHOWN],
            "unreadable_count": len(unreadable),
        }

    # What loads ask for

    async def for_load(self, guild_id: GuildId) -> LoadedWith:
        """The guild's secrets, to go with its script."""
        changes = self._changes.get(guild_id, 0)
        try:
            return LoadedWith(await self._read(guild_id), changes)
        except (StorageError, Unavailable) as exc:
            log.warning("secrets not read for a load: %s", exc, extra={"guild_id": guild_id})
            return LoadedWith(None, changes)

    def loaded(self, guild_id: GuildId, loaded: LoadedWith) -> None:
        """The load has come to its end, or may have."""
        if loaded.secrets is None or loaded.changes != self._changes.get(guild_id, 0):
            self._deliver_later(guild_id)

    def refresh(self, guild_ids: Iterable[GuildId]) -> None:
        """Gives guilds that run their secrets again: another deployer may have died between a change and its delivery."""
        self._refreshing = asyncio.get_running_loop().create_task(self._refresh(tuple(guild_ids)))

    async def _refresh(self, guild_ids: Sequence[GuildId]) -> None:
        for guild_id in guild_ids:
            await self._deliver(guild_id)

    def stop(self) -> None:
        """Delivers no more: the system goes down."""
        for task in (*self._deliveries.values(), *([self._refreshing] if self._refreshing else [])):
            task.cancel()

    # Reading and delivering

    async def _read(self, guild_id: GuildId) -> GuildSecrets:
        # The number first: of two sets the one with the higher number was read later.
        version = await self._store.next_version()
        entries = []
        for row in await self._store.of_guild(guild_id):
            value = self._open(row)
            if value is not None:
                placeholders = self._keys.placeholders(row.secret_id)
                entries.append(
                    LiveSecret(name=row.name, placeholders=placeholders, value=value, allowed_hosts=row.allowed_hosts)
                )
        return GuildSecrets(version=version, entries=tuple(entries))

    def _open(self, row: StoredSecret) -> str | None:
        try:
            return self._keys.open(row.guild_id, row.name, row.sealed)
        except Unreadable:
            self._warn(row)
            return None

    def _warn(self, row: StoredSecret) -> None:
        key = (row.guild_id, row.name, row.sealed.nonce)
        if key in self._warned:
            return
        self._warned[key] = None
        while len(self._warned) > WARNINGS_KEPT:
            self._warned.popitem(last=False)
        log.warning(
            "secret %r of guild %s cannot be decrypted with any configured key; its script does not see it",
            row.name,
            row.guild_id,
            extra={"action": "secret_unreadable", "guild_id": row.guild_id, "secret_name": row.name},
        )

    async def _deliver(self, guild_id: GuildId) -> bool:
        """Tries once, now; True when it has arrived. Otherwise it is tried again, later."""
        try:
            async with asyncio.timeout(DELIVERY_WAIT_S):
                await self._give(guild_id, await self._read(guild_id))
        except (FloraError, TimeoutError) as exc:
            log.warning("secrets not delivered yet: %s", exc, extra={"guild_id": guild_id})
            self._deliver_later(guild_id)
            return False
        return True

    def _deliver_later(self, guild_id: GuildId) -> None:
        running = self._deliveries.get(guild_id)
        if running is not None:
            # It may have read what was there before; the next one reads what is there now.
            running.cancel()
        task = self._deliveries[guild_id] = asyncio.get_running_loop().create_task(self._keep_delivering(guild_id))
        task.add_done_callback(lambda done: self._delivered(guild_id, done))

    def _delivered(self, guild_id: GuildId, done: asyncio.Task[None]) -> None:
        if self._deliveries.get(guild_id) is done:
            del self._deliveries[guild_id]
        if not done.cancelled() and (error := done.exception()) is not None:
            log.error("secrets not delivered", exc_info=error, extra={"action": "bug", "guild_id": guild_id})

    async def _keep_delivering(self, guild_id: GuildId) -> None:
        failures = 0
        while True:
            failures += 1
            await self._sleep(DELIVERY_BACKOFF.delay_s(failures, self._rng))
            try:
                await self._give(guild_id, await self._read(guild_id))
            except FloraError as exc:
                log.warning("secrets not delivered yet: %s", exc, extra={"guild_id": guild_id})
            else:
                return
