"""Short texts that lie in a store others may read: sealed with a key derived from a secret, each bound to its place.

Encrypt-then-MAC from the standard library's HMAC-SHA-256: its output over nonce and block number is the key stream, a second
key signs place, nonce and ciphertext. A value moved to another place does not open. For a few hundred bytes at a time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

PREFIX = "sealed:1:"
"""No token has a colon, so that a text from before sealing is told apart by its beginning."""

_NONCE_BYTES = 16
_TAG_BYTES = 32
_BLOCK_BYTES = 32


class Sealer:
    """Seals and opens texts of one purpose."""

    def __init__(self, secret: str, purpose: str) -> None:
        """
        Args:
            secret: At least 32 bytes.
            purpose: Keys of different purposes have nothing in common.
        """
        root = hmac.digest(b"flora sealing", secret.encode(), hashlib.sha256)
        self._cipher_key = hmac.digest(root, f"{purpose}\x01".encode(), hashlib.sha256)
        self._mac_key = hmac.digest(root, f"{purpose}\x02".encode(), hashlib.sha256)

    def seal(self, text: str, place: str) -> str:
        """The text, unreadable; never the same twice."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        hidden = self._mixed(nonce, text.encode())
        return PREFIX + base64.urlsafe_b64encode(nonce + hidden + self._tag(place, nonce + hidden)).decode()

    def open(self, sealed: str, place: str) -> str | None:
        """The text again; None when it was made with another secret, for another place, or was changed.

        What was never sealed comes back as it is.
        """
        if not sealed.startswith(PREFIX):
            return sealed
        try:
            raw = base64.urlsafe_b64decode(sealed[len(PREFIX) :])
        except (binascii.Error, ValueError):
            return None
        body, tag = raw[:-_TAG_BYTES], raw[-_TAG_BYTES:]
        if len(body) < _NONCE_BYTES or not hmac.compare_digest(tag, self._tag(place, body)):
            return None
        return self._mixed(body[:_NONCE_BYTES], body[_NONCE_BYTES:]).decode()

    def _mixed(self, nonce: bytes, data: bytes) -> bytes:
        blocks = -(-len(data) // _BLOCK_BYTES)
        stream = b"".join(
            hmac.digest(self._cipher_key, nonce + number.to_bytes(4, "big"), hashlib.sha256) for number in range(blocks)
        )
        return bytes(one ^ other for one, other in zip(data, stream, strict=False))

    def _tag(self, place: str, body: bytes) -> bytes:
        where = place.encode()
        return hmac.digest(self._mac_key, len(where).to_bytes(4, "big") + where + body, hashlib.sha256)
