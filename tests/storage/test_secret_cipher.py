from __future__ import annotations

import hashlib
import hmac
import uuid

import pytest
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt

from flora.messages.ids import GuildId
from flora.storage.secret_cipher import KeyRing, Sealed, Unreadable, key_id_of

G, H = GuildId("1"), GuildId("2")
OLD, NEW = bytes(range(32)), bytes(range(32, 64))
ROW = "6f1c8b52-1111-4111-8111-111111111111"


def reference_row(key: bytes, value: str) -> Sealed:
    """As the Rust runtime writes it: a nonce of 24 bytes, no associated data, the tag behind the text."""
    nonce = b"n" * 24
    ciphertext = crypto_aead_xchacha20poly1305_ietf_encrypt(value.encode(), None, nonce, key)
    return Sealed(ciphertext=ciphertext, nonce=nonce, key_id=None)


def test_given_the_published_vector_when_opened_then_it_is_that_cipher() -> None:
    # draft-irtf-cfrg-xchacha-03, appendix A.3.1; its associated data is not ours, so only the text part is compared.
    key = bytes.fromhex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f")
    nonce = bytes.fromhex("404142434445464748494a4b4c4d4e4f5051525354555657")
    text = "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."
    ciphertext = crypto_aead_xchacha20poly1305_ietf_encrypt(text.encode(), None, nonce, key)

    assert ciphertext[:16].hex() == "bd6d179d3e83d43b9576579493c0e939"
    assert KeyRing(key).open(G, "ANY", Sealed(ciphertext=ciphertext, nonce=nonce, key_id=None)) == text


def test_given_a_row_of_the_reference_when_opened_then_its_value_is_there_under_any_configured_key() -> None:
    row = reference_row(OLD, "hunter2 — ü")

    assert KeyRing(OLD).open(G, "KEY", row) == "hunter2 — ü"
    assert KeyRing(NEW, [OLD]).open(H, "OTHER", row) == "hunter2 — ü"
    with pytest.raises(Unreadable):
        KeyRing(NEW).open(G, "KEY", row)


def test_given_a_row_of_ours_when_it_is_moved_then_it_does_not_open_any_more() -> None:
    ring = KeyRing(OLD)
    row = ring.seal(G, "KEY", "hunter2")

    assert ring.open(G, "KEY", row) == "hunter2"
    assert row.key_id == key_id_of(OLD)
    assert b"hunter2" not in row.ciphertext
    for guild, name in ((H, "KEY"), (G, "KEY2")):
        with pytest.raises(Unreadable):
            ring.open(guild, name, row)


def test_given_a_row_of_ours_when_passed_off_as_one_of_the_reference_then_it_does_not_open() -> None:
    ring = KeyRing(OLD)
    row = ring.seal(G, "KEY", "hunter2")

    with pytest.raises(Unreadable):
        ring.open(G, "KEY", Sealed(ciphertext=row.ciphertext, nonce=row.nonce, key_id=None))


def test_given_a_new_key_when_the_old_one_is_configured_then_old_rows_open_and_else_not() -> None:
    row = KeyRing(OLD).seal(G, "KEY", "hunter2")

    assert KeyRing(NEW, [OLD]).open(G, "KEY", row) == "hunter2"
    with pytest.raises(Unreadable):
        KeyRing(NEW).open(G, "KEY", row)


@pytest.mark.parametrize("damaged", [b"", b"x", b"\0" * 40])
def test_given_a_damaged_row_when_opened_then_it_is_unreadable(damaged: bytes) -> None:
    for key_id in (None, key_id_of(OLD)):
        for nonce in (b"n" * 24, b"", b"n" * 12):
            with pytest.raises(Unreadable):
                KeyRing(OLD).open(G, "KEY", Sealed(ciphertext=damaged, nonce=nonce, key_id=key_id))


def test_given_two_writes_of_one_value_when_compared_then_nothing_is_alike() -> None:
    ring = KeyRing(OLD)
    first, second = ring.seal(G, "KEY", "hunter2"), ring.seal(G, "KEY", "hunter2")

    assert first.nonce != second.nonce
    assert len(first.nonce) == 24
    assert first.ciphertext != second.ciphertext


def test_given_a_row_when_its_placeholder_is_made_then_it_is_the_one_of_the_reference() -> None:
    tag = hmac.new(OLD, uuid.UUID(ROW).bytes, hashlib.sha256).hexdigest()[:12]

    assert KeyRing(OLD).placeholders(ROW) == (f"__FLORA_SECRET__:{ROW}:{tag}",)


def test_given_a_rotation_when_placeholders_are_made_then_the_new_one_is_first_and_the_old_one_still_counts() -> None:
    both = KeyRing(NEW, [OLD]).placeholders(ROW)

    assert both == (*KeyRing(NEW).placeholders(ROW), *KeyRing(OLD).placeholders(ROW))


def test_given_a_key_of_another_length_when_used_then_it_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        KeyRing(NEW, [b"short"])


def test_given_what_holds_keys_or_values_when_shown_then_neither_is_in_it() -> None:
    ring = KeyRing(b"k" * 32)
    row = ring.seal(G, "KEY", "hunter2")

    assert "kkkk" not in f"{ring} {ring!r}"
    assert repr(row) == f"Sealed(key_id='{ring.current_id}')"
