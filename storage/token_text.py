"""What API tokens look like and how they are remembered.

`<12 alphanumerics>.<32 alphanumerics>`: the first part is the public token id, the whole is the credential. Stores keep
the SHA-256 of the whole as lowercase hex; 32 random alphanumerics carry 190 bits, so no slow hash is needed.
"""

from __future__ import annotations

import hashlib
import secrets
import string

from flora.messages.errors import Conflict

TOKEN_ID_CHARS = 12
SECRET_CHARS = 32
MIN_PLAUSIBLE_CHARS = 20  # as in the Rust runtime: anything shorter is refused without a query
MAX_PLAUSIBLE_CHARS = 256  # keeps a megabyte of header from being hashed
STAMP_EVERY_S = 60.0  # how often a use of a token is written down
MAX_PER_USER = 50  # that have not expired; whoever needs more has forgotten some
MAX_LABEL_CHARS = 100
EXPIRED_KEPT_DAYS = 30  # how long its owner still sees a token that has expired

_ALPHABET = string.ascii_letters + string.digits


def make_token() -> tuple[str, str]:
    """A new token as (token id, plaintext)."""
    token_id = _random(TOKEN_ID_CHARS)
    return token_id, f"{token_id}.{_random(SECRET_CHARS)}"


def hash_of(plaintext: str) -> str:
    """What a store keeps of a token: SHA-256 of its UTF-8 bytes, 64 hex digits."""
    return hashlib.sha256(plaintext.encode("utf-8", "surrogatepass")).hexdigest()


def is_plausible(plaintext: str) -> bool:
    """False for text that cannot be a token, so that no store need be asked."""
    return MIN_PLAUSIBLE_CHARS <= len(plaintext) <= MAX_PLAUSIBLE_CHARS


def is_label(label: str) -> bool:
    """Whether a text can be kept as a label: short, and something that every store can keep."""
    return len(label) <= MAX_LABEL_CHARS and "\0" not in label and not any("\ud800" <= c <= "\udfff" for c in label)


def too_many() -> Conflict:
    """What a store raises that has enough of a user's tokens."""
    return Conflict(f"there are {MAX_PER_USER} API tokens already; delete one that is not needed", limit=MAX_PER_USER)


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
