"""Short texts that lie in a store others may read: XChaCha20-Poly1305 under a key made from a secret, each bound to its place.

A value that is moved to another place does not open.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

PREFIX = "sealed:1:"
"""No token has a colon, so that a text from before sealing is told apart by its beginning."""

NONCE_BYTES = 24


class Sealer:
    """Seals and opens texts of one purpose."""

    def __init__(self, secret: str, purpose: str) -> None:
        """
        Args:
            secret: At least 32 bytes.
            purpose: Keys of different purposes have nothing in common.
        """
        self._key = hmac.digest(secret.encode(), f"flora sealing: {purpose}".encode(), hashlib.sha256)

    def seal(self, text: str, place: str) -> str:
        """The text, unreadable; never the same twice."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        hidden = crypto_aead_xchacha20poly1305_ietf_encrypt(text.encode(), place.encode(), nonce, self._key)
        return PREFIX + base64.urlsafe_b64encode(nonce + hidden).decode()

    def open(self, sealed: str, place: str) -> str | None:
        """The text again; None when it was made with another secret, for another place, or was changed.

        What was never sealed comes back as it is.
        """
        if not sealed.startswith(PREFIX):
            return sealed
        try:
            raw = base64.urlsafe_b64decode(sealed[len(PREFIX) :])
            nonce, hidden = raw[:NONCE_BYTES], raw[NONCE_BYTES:]
            text: bytes = crypto_aead_xchacha20poly1305_ietf_decrypt(hidden, place.encode(), nonce, self._key)
            return text.decode()
        except (CryptoError, binascii.Error, ValueError):  # ValueError: too short
            return None
