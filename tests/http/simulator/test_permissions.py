"""How roles and overwrites combine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.http.simulator.permissions import ALL, Permission, channel_permissions, guild_permissions

GUILD, USER, OWNER, ROLE, OTHER_ROLE = "1", "2", "3", "4", "5"
VIEW, SEND, MANAGE = Permission.VIEW_CHANNEL, Permission.SEND_MESSAGES, Permission.MANAGE_MESSAGES


def in_guild(user_id: str, role_bits: dict[str, int], role_ids: tuple[str, ...] = ()) -> int:
    roles = {role_id: {"permissions": str(bits), "position": 1} for role_id, bits in role_bits.items()}
    return guild_permissions(user_id=user_id, owner_id=OWNER, guild_id=GUILD, role_ids=role_ids, roles=roles)


def in_channel(base: int, *overwrites: tuple[str, int, int], roles: tuple[str, ...] = (ROLE,)) -> int:
    listed = [{"id": target, "allow": str(allow), "deny": str(deny)} for target, allow, deny in overwrites]
    return channel_permissions(base, user_id=USER, guild_id=GUILD, role_ids=roles, overwrites=listed)


def test_given_roles_then_a_member_has_what_any_of_them_grants() -> None:
    assert in_guild(USER, {GUILD: VIEW, ROLE: SEND, OTHER_ROLE: MANAGE}, (ROLE,)) == VIEW | SEND


@pytest.mark.parametrize(("user", "bits"), [(OWNER, 0), (USER, Permission.ADMINISTRATOR)])
def test_given_the_owner_or_an_administrator_then_everything_is_allowed(user: str, bits: int) -> None:
    assert in_guild(user, {GUILD: 0, ROLE: bits}, (ROLE,)) == ALL


def test_given_overwrites_when_they_disagree_then_the_member_beats_roles_and_roles_beat_everyone() -> None:
    base = VIEW
    assert in_channel(base, (GUILD, 0, SEND), (ROLE, SEND, 0)) & SEND
    assert not in_channel(base, (ROLE, SEND, 0), (USER, 0, SEND)) & SEND
    assert in_channel(base, (USER, SEND, 0), (ROLE, 0, SEND), (GUILD, 0, SEND)) & SEND


def test_given_two_roles_when_one_allows_what_the_other_denies_then_it_is_allowed() -> None:
    assert in_channel(VIEW, (ROLE, 0, SEND), (OTHER_ROLE, SEND, 0), roles=(ROLE, OTHER_ROLE)) & SEND


def test_given_a_channel_one_cannot_view_then_nothing_is_left() -> None:
    assert in_channel(VIEW | SEND | MANAGE, (GUILD, 0, VIEW)) == 0


def test_given_a_channel_one_cannot_write_in_then_files_and_embeds_go_too() -> None:
    bits = in_channel(VIEW | SEND | Permission.ATTACH_FILES | MANAGE, (ROLE, 0, SEND))
    assert bits == VIEW | MANAGE


def test_given_an_administrator_then_overwrites_do_not_count() -> None:
    assert in_channel(ALL, (USER, 0, ALL)) == ALL


@given(st.integers(0, ALL), st.integers(0, ALL), st.permutations([GUILD, ROLE, USER]))
def test_given_overwrites_in_any_listed_order_then_the_result_is_the_same(a: int, b: int, order: list[str]) -> None:
    overwrites = {GUILD: (a, b), ROLE: (b, a), USER: (a & ~VIEW, b & ~VIEW)}
    base = VIEW | SEND

    shuffled = in_channel(base, *((key, *overwrites[key]) for key in order))

    assert shuffled == in_channel(base, *((key, *bits) for key, bits in overwrites.items()))
