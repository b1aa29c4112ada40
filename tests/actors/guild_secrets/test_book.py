from __future__ import annotations

from flora.actors.guild_secrets.book import SecretBook
from flora.messages.secrets import NO_SECRETS, GuildSecrets, LiveSecret


def one(version: int, value: str) -> GuildSecrets:
    entry = LiveSecret(name="KEY", placeholders=(f"new{version}", "old"), value=value, allowed_hosts=())
    return GuildSecrets(version=version, entries=(entry,))


def test_given_sets_in_the_wrong_order_when_given_then_the_newer_one_stays() -> None:
    book = SecretBook()

    assert book.give("1", one(2, "newer"))
    assert not book.give("1", one(1, "older"))
    assert not book.give("1", NO_SECRETS)

    assert book.placeholders("1") == {"KEY": "new2"}
    assert {text: entry.value for text, entry in book.by_placeholder("1").items()} == {"new2": "newer", "old": "newer"}
    assert book.by_placeholder("2") == {}


def test_given_a_guild_that_has_left_when_it_comes_back_then_any_set_counts_again() -> None:
    book = SecretBook()
    book.give("1", one(2, "before"))
    book.forget("1")
    book.forget("1")

    assert "1" not in book
    assert book.placeholders("1") == {}
    assert book.give("1", NO_SECRETS)
    assert "1" in book


def test_given_what_holds_values_when_shown_then_they_are_not_in_it() -> None:
    book = SecretBook()
    book.give("1", one(1, "hunter2"))

    assert "hunter2" not in f"{book!r}{one(1, 'hunter2')!r}{book._known!r}"
