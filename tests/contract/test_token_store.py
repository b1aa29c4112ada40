from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from flora.messages.errors import Conflict
from flora.messages.ids import UserId
from flora.storage import token_text
from flora.storage.ports import TokenStore

ANN, BOB = UserId("100"), UserId("200")


async def test_given_a_new_token_then_it_has_the_form_that_clients_know(tokens: TokenStore) -> None:
    plaintext = await tokens.create(ANN, "laptop")

    assert re.fullmatch(r"[A-Za-z0-9]{12}\.[A-Za-z0-9]{32}", plaintext)
    assert await tokens.create(ANN, "laptop") != plaintext


async def test_given_a_token_when_used_then_its_owner_is_known_and_the_use_is_stamped_once(tokens: TokenStore) -> None:
    plaintext = await tokens.create(ANN, None)
    assert (await tokens.list(ANN))[0].last_used_at is None

    assert await tokens.authenticate(plaintext) == ANN
    first = (await tokens.list(ANN))[0].last_used_at
    assert await tokens.authenticate(plaintext) == ANN

    assert first is not None
    assert (await tokens.list(ANN))[0].last_used_at == first


@pytest.mark.parametrize(
    "wrong", ["", "x", "a" * 19, "a" * 45, "a" * 10_000, "\0" * 45, "\ud800" * 45, "' OR 1=1 --" * 3]
)
async def test_given_what_is_no_token_then_nobody_is_logged_in(tokens: TokenStore, wrong: str) -> None:
    await tokens.create(ANN, None)

    assert await tokens.authenticate(wrong) is None


async def test_given_half_of_a_token_then_nobody_is_logged_in(tokens: TokenStore) -> None:
    plaintext = await tokens.create(ANN, None)

    assert await tokens.authenticate(plaintext.partition(".")[2]) is None
    assert await tokens.authenticate(plaintext.swapcase()) is None


async def test_given_two_users_when_listed_then_each_sees_their_own_newest_first(tokens: TokenStore) -> None:
    first, second = await tokens.create(ANN, "first"), await tokens.create(ANN, "second")
    await tokens.create(BOB, None)

    listed = await tokens.list(ANN)

    assert [record.label for record in listed] == ["second", "first"]
    assert [record.token_id for record in listed] == [second.partition(".")[0], first.partition(".")[0]]
    assert all(first not in repr(record) for record in listed)


async def test_given_a_deleted_token_then_it_no_longer_works(tokens: TokenStore) -> None:
    plaintext = await tokens.create(ANN, None)
    token_id = plaintext.partition(".")[0]

    assert not await tokens.delete(BOB, token_id)
    assert await tokens.authenticate(plaintext) == ANN
    assert await tokens.delete(ANN, token_id)

    assert await tokens.authenticate(plaintext) is None
    assert not await tokens.delete(ANN, token_id)


async def test_given_a_token_with_an_end_then_it_works_until_then_and_is_still_listed(tokens: TokenStore) -> None:
    soon, past = datetime.now(UTC) + timedelta(days=1), datetime.now(UTC) - timedelta(seconds=1)
    valid, expired = await tokens.create(ANN, "valid", soon), await tokens.create(ANN, "expired", past)

    assert await tokens.authenticate(valid) == ANN
    assert await tokens.authenticate(expired) is None
    listed = {record.label: record for record in await tokens.list(ANN)}
    assert listed["valid"].expires_at == soon
    assert listed["expired"].expires_at == past
    assert listed["expired"].last_used_at is None


async def test_given_as_many_tokens_as_allowed_then_no_more_are_made_until_one_goes(tokens: TokenStore) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    await tokens.create(ANN, None, past)
    made = [await tokens.create(ANN, None) for _ in range(token_text.MAX_PER_USER)]

    with pytest.raises(Conflict, match="delete one"):
        await tokens.create(ANN, None)
    await tokens.create(BOB, None)
    await tokens.delete(ANN, made[0].partition(".")[0])

    assert await tokens.authenticate(await tokens.create(ANN, None)) == ANN


async def test_given_a_token_that_expired_long_ago_when_another_is_made_then_it_is_forgotten(
    tokens: TokenStore,
) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=token_text.EXPIRED_KEPT_DAYS, seconds=5)
    for user in (ANN, BOB):
        await tokens.create(user, "old", long_ago)

    await tokens.create(ANN, "new")

    assert [record.label for record in await tokens.list(ANN)] == ["new"]
    assert [record.label for record in await tokens.list(BOB)] == ["old"]
