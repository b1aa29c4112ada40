"""How a guild's secrets are encrypted: XChaCha20-Poly1305, a random nonce of 24 bytes per write.

A row written here says under which key (`key_id`) and is bound to its guild and name, as associated data: moved to another guild
or name it does not open. A row of the Rust runtime has no key id and is bound to nothing; the next rotation binds it.

Placeholders are `__FLORA_SECRET__:<row id>:<12 hex digits of HMAC-SHA256(master key, row id's 16 bytes)>`. A new master key makes
new ones. Those made with a previous key count as long as that key is configured, so a script that holds one across a
rotation does not notice; a key is only taken out of the configuration by a restart, after which no script holds anything.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from flora.messages.ids import GuildId
from flora.messages.secrets import PLACEHOLDER_PREFIX

KEY_BYTES = 32
NONCE_BYTES = 24
TAG_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A value as it is stored."""

    ciphertext: bytes = field(repr=False)  # with the tag of 16 bytes at its end
    nonce: bytes = field(repr=False)
    key_id: str | None  # None: by the Rust runtime


class Unreadable(Exception):
    """No configured key opens the row, or it is not where it was written."""


class KeyRing:
    """The configured master keys: the current one encrypts, all of them decrypt."""

    def __init__(self, current: bytes, previous: Iterable[bytes] = ()) -> None:
        """Keys have 32 bytes each.

        Raises:
            ValueError: one has not.
        """
        keys = tuple(dict.fromkeys((current, *previous)))
        if any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"a master key has {KEY_BYTES} bytes")
        self._keys = {key_id_of(key): key for key in keys}
        self.current_id = key_id_of(current)

    def __repr__(self) -> str:
        return f"<KeyRing {self.current_id} of {len(self._keys)}>"

    def seal(self, guild_id: GuildId, name: str, value: str) -> Sealed:
        """Encrypts under the current key."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        key = self._keys[self.current_id]
        ciphertext = crypto_aead_xchacha20poly1305_ietf_encrypt(value.encode(), _bound_to(guild_id, name), nonce, key)
        return Sealed(ciphertext=ciphertext, nonce=nonce, key_id=self.current_id)

    def open(self, guild_id: GuildId, name: str, sealed: Sealed) -> str:
        """Decrypts.

        Raises:
            Unreadable: see there; says nothing of what it found.
        """
        if sealed.key_id is None:
            keys, bound_to = list(self._keys.values()), None
        else:
            found = self._keys.get(sealed.key_id)
            keys, bound_to = [] if found is None else [found], _bound_to(guild_id, name)
        for key in keys:
            try:
                return crypto_aead_xchacha20poly1305_ietf_decrypt(
                    sealed.ciphertext, bound_to, sealed.nonce, key
                ).decode()
            except (CryptoError, ValueError):  # ValueError: a nonce of another length, or no UTF-8
                continue
        raise Unreadable

    def placeholders(self, secret_id: str) -> tuple[str, ...]:
        """What stands for a row's value: with the current key first, then with each previous one."""
        raw = uuid.UUID(secret_id).bytes
        tags = [hmac.digest(key, raw, "sha256").hex()[:TAG_DIGITS] for key in self._keys.values()]
        return tuple(f"{PLACEHOLDER_PREFIX}{secret_id}:{tag}" for tag in tags)


def key_id_of(key: bytes) -> str:
    """Names a key without giving it away: 16 hex digits of a hash of it."""
    return hashlib.sha256(b"flora master key id\0" + key).hexdigest()[:16]


def _bound_to(guild_id: GuildId, name: str) -> bytes:
    return f"flora secret\0{guild_id}\0{name}".encode()
