from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flora.messages.errors import (
    BadRequest,
    Conflict,
    FloraError,
    KvQuotaExceeded,
    KvRateLimited,
    NotFound,
    TooLarge,
    Unavailable,
)
from flora.messages.kv import KvEntry, KvKey, KvPage, KvUsage, KvValue
from flora.storage.ports import KvGuild

OpenKv = Callable[..., KvGuild]
S = "scores"
V = KvValue("v")


def names(page: KvPage) -> list[str]:
    return [key.name for key in page.keys]


def contents(kv: KvGuild, store: str = S) -> dict[str, KvEntry]:
    snapshot = kv.snapshot(store)
    try:
        return dict(snapshot.entries())
    finally:
        snapshot.close()


def test_given_nothing_when_read_then_everything_is_absent_and_no_store_is_made(kv: KvGuild) -> None:
    assert kv.get(S, "k") is None
    assert kv.delete(S, "k") is False
    assert kv.list(S) == KvPage((), True, None)
    assert kv.usage(S) == KvUsage(0, 0)
    assert kv.set_if(S, "k", V, expected=KvValue("other")) is False
    assert list(kv.stores()) == []
    assert kv.guild_bytes() == 0


@pytest.mark.parametrize("text", ["", "v", "ünï — 🙂", "a\0b", "\n", '"quoted"', "5"])
@pytest.mark.parametrize("is_json", [False, True])
def test_given_a_value_when_read_then_it_comes_back_as_it_was(kv: KvGuild, text: str, is_json: bool) -> None:
    kv.set(S, "k/ü", KvValue(text, is_json), metadata={"by": ["ann", 1, None, "\0"]})

    assert kv.get(S, "k/ü") == KvEntry(KvValue(text, is_json), None, {"by": ["ann", 1, None, "\0"]})


def test_given_a_first_write_then_it_makes_the_store(kv: KvGuild) -> None:
    kv.set("b", "k", V)
    kv.increment("a", "n")
    kv.set_if("c", "k", V, expected=None)

    assert [info.name for info in kv.stores()] == ["a", "b", "c"]
    assert kv.require("b") == kv.stores()[1]
    assert len({info.store_id for info in kv.stores()}) == 3


def test_given_two_guilds_then_neither_sees_the_other(open_kv: OpenKv) -> None:
    first, second = open_kv("1"), open_kv("2")

    first.set(S, "k", V)

    assert second.get(S, "k") is None
    assert list(second.stores()) == []


def test_given_a_second_set_then_it_replaces_value_expiration_and_metadata(kv: KvGuild, kv_clock: Any) -> None:
    kv.set(S, "k", V, expiration=int(kv_clock.now) + 10, metadata=1)

    kv.set(S, "k", KvValue("w"))

    assert kv.get(S, "k") == KvEntry(KvValue("w"))
    kv_clock.now += 20
    assert kv.get(S, "k") == KvEntry(KvValue("w"))


def test_given_an_expiration_when_it_is_reached_then_the_key_is_gone(kv: KvGuild, kv_clock: Any) -> None:
    end = int(kv_clock.now) + 10
    kv.set(S, "k", V, expiration=end)
    kv_clock.now = end - 0.001
    assert kv.get(S, "k") == KvEntry(V, end)

    kv_clock.now = float(end)

    assert kv.get(S, "k") is None
    assert kv.list(S) == KvPage((), True, None)
    assert contents(kv) == {}
    assert kv.delete(S, "k") is False


@pytest.mark.parametrize("expiration", [0, -5, -(2**40)])
def test_given_an_expiration_in_the_past_then_the_key_reads_as_missing(kv: KvGuild, expiration: int) -> None:
    kv.set(S, "k", V)

    kv.set(S, "k", V, expiration=expiration)

    assert kv.get(S, "k") is None
    assert kv.usage(S) == KvUsage(0, 0)


def test_given_a_time_to_live_then_it_is_never_cut_short(kv: KvGuild, kv_clock: Any) -> None:
    begun = kv_clock.now
    kv.set(S, "k", V, ttl_s=10)

    kv_clock.now = begun + 10
    assert kv.get(S, "k") is not None
    kv_clock.now = begun + 11
    assert kv.get(S, "k") is None


@pytest.mark.parametrize(
    "when",
    [
        {"expiration": 1, "ttl_s": 1.0},
        {"ttl_s": float("nan")},
        {"ttl_s": float("inf")},
        {"expiration": 2**63},
    ],
)
def test_given_an_end_that_is_none_then_it_is_refused(kv: KvGuild, when: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        kv.set(S, "k", V, **when)


@pytest.mark.parametrize("key", ["", "k" * 513, "ü" * 257, "a\0b", "\ud800"])
def test_given_a_key_that_is_none_then_every_call_refuses_it(kv: KvGuild, key: str) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: kv.get(S, key),
        lambda: kv.set(S, key, V),
        lambda: kv.set_if(S, key, V, expected=None),
        lambda: kv.increment(S, key),
        lambda: kv.update_metadata(S, key, 1),
        lambda: kv.delete(S, key),
        lambda: kv.list(S, cursor=key),
    ]

    for call in calls:
        with pytest.raises((BadRequest, TooLarge)) as refused:
            call()
        assert str(refused.value) in {
            "key cannot be empty",
            "key exceeds maximum size of 512 characters",
            "key contains null character",
            "key is not valid Unicode",
        }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "store_name cannot be empty"),
        ("s" * 65, "store_name exceeds maximum size of 64 characters"),
        ("ü" * 33, "store_name exceeds maximum size of 64 characters"),
        ("a/b", "store_name contains invalid characters"),
        ("a.b", "store_name contains invalid characters"),
        ("..", "store_name contains invalid characters"),
        ("a\0b", "store_name contains invalid characters"),
    ],
)
def test_given_a_store_name_that_is_none_then_every_call_refuses_it(kv: KvGuild, name: str, text: str) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: kv.get(name, "k"),
        lambda: kv.set(name, "k", V),
        lambda: kv.list(name),
        lambda: kv.create(name),
        lambda: kv.drop(name),
        lambda: kv.usage(name),
        lambda: kv.restore(name, []),
    ]

    for call in calls:
        with pytest.raises(BadRequest) as refused:
            call()
        assert str(refused.value) == text


@pytest.mark.parametrize("guild", ["", "1" * 33, "1/2", "1.2"])
def test_given_a_guild_id_that_is_none_then_it_is_refused(open_kv: OpenKv, guild: str) -> None:
    with pytest.raises(BadRequest, match="guild_id"):
        open_kv(guild)


def test_given_names_that_file_systems_confuse_then_the_stores_are_different(kv: KvGuild) -> None:
    confusing = ["backups", "Backups", "BACKUPS", "lock", "data", "s-backups", "%62ackups", " ", "a b", "a\\b"]
    confusing += ["\u00e9", "e\u0301"]
    confusing += ["-", "~", "con", "nul", "$(x)", "*", "\n", "x" * 64, "ü" * 32]

    for number, name in enumerate(confusing):
        kv.set(name, "k", KvValue(str(number)))

    assert sorted(info.name for info in kv.stores()) == sorted(confusing)
    found = [kv.get(name, "k") for name in confusing]
    assert [entry and entry.value.text for entry in found] == [str(number) for number in range(len(confusing))]


def test_given_sizes_at_their_limits_then_they_pass_and_one_byte_more_does_not(kv: KvGuild) -> None:
    kv.set(S, "k" * 512, KvValue("v" * 1024 * 1024))

    with pytest.raises(TooLarge) as refused:
        kv.set(S, "k", KvValue("ü" * (512 * 1024) + "v"))
    assert str(refused.value) == "value exceeds maximum size of 1MB"
    with pytest.raises(TooLarge) as refused:
        kv.set(S, "k", KvValue("v" * 1024 * 1024), metadata="m" * 1024 * 1024)
    assert str(refused.value) == "kv entry exceeds maximum size of 2MB"
    assert kv.get(S, "k") is None


def test_given_a_prefix_with_nul_then_it_is_refused_and_a_long_one_matches_nothing(kv: KvGuild) -> None:
    kv.set(S, "k", V)

    with pytest.raises(BadRequest) as refused:
        kv.list(S, prefix="a\0")
    assert str(refused.value) == "prefix contains null character"
    assert kv.list(S, prefix="k" * 2_000) == KvPage((), True, None)


def test_given_keys_when_listed_then_in_the_order_of_their_bytes(kv: KvGuild) -> None:
    keys = ["b", "a", "B", "é", "z", "aa", "a b", "a/b", "￿", "🙂", "~", "ab"]  # by code unit 🙂 would come before ￿
    for key in keys:
        kv.set(S, key, V)

    assert names(kv.list(S)) == sorted(keys, key=str.encode)
    assert names(kv.list(S, prefix="a")) == ["a", "a b", "a/b", "aa", "ab"]


def test_given_expirations_and_metadata_when_listed_then_they_are_told(kv: KvGuild, kv_clock: Any) -> None:
    end = int(kv_clock.now) + 10
    kv.set(S, "a", V, metadata={"n": 1})
    kv.set(S, "b", V, expiration=end)
    kv.set(S, "c", V, expiration=end, metadata=[1])
    kv.set(S, "d", V, metadata=None)

    assert list(kv.list(S).keys) == [
        KvKey("a", None, {"n": 1}),
        KvKey("b", end, None),
        KvKey("c", end, [1]),
        KvKey("d", None, None),
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 7])
def test_given_pages_then_each_key_comes_once_and_the_last_page_says_so(kv: KvGuild, limit: int) -> None:
    for number in range(6):
        kv.set(S, f"k{number}", V)
    kv.set(S, "other", V)
    seen, cursor, pages = [], None, 0

    while True:
        page = kv.list(S, prefix="k", cursor=cursor, limit=limit)
        seen += names(page)
        pages += 1
        if page.list_complete:
            break
        assert page.cursor == seen[-1]
        cursor = page.cursor

    assert seen == [f"k{number}" for number in range(6)]
    assert pages == -(-6 // limit)  # no empty page at the end


def test_given_only_expired_keys_behind_a_page_then_it_is_the_last(kv: KvGuild, kv_clock: Any) -> None:
    kv.set(S, "a", V)
    kv.set(S, "b", V, ttl_s=1)
    assert kv.list(S, limit=1).list_complete is False

    kv_clock.now += 5

    assert kv.list(S, limit=1) == KvPage((KvKey("a", None, None),), True, None)


def test_given_a_limit_then_it_is_kept_between_none_and_a_thousand(kv: KvGuild) -> None:
    with kv.batch():
        for number in range(1_002):
            kv.set(S, f"k{number:04}", V)

    assert kv.list(S, limit=0) == KvPage((), True, None)
    assert len(kv.list(S).keys) == 100
    assert len(kv.list(S, limit=5_000).keys) == 1_000
    assert len(kv.list(S, limit=-1).keys) == 1_000
    assert names(kv.list(S, limit=5_000, cursor="k0999")) == ["k1000", "k1001"]


def test_given_a_cursor_outside_of_the_prefix_then_no_key_is_missed_and_none_comes_twice(kv: KvGuild) -> None:
    for key in ("a", "b1", "b2", "c"):
        kv.set(S, key, V)

    assert names(kv.list(S, prefix="b", cursor="a")) == ["b1", "b2"]
    assert names(kv.list(S, prefix="b", cursor="b1")) == ["b2"]
    assert names(kv.list(S, prefix="b", cursor="b1x")) == ["b2"]
    assert kv.list(S, prefix="b", cursor="c") == KvPage((), True, None)


def test_given_a_metadata_update_then_value_and_expiration_stay(kv: KvGuild, kv_clock: Any) -> None:
    end = int(kv_clock.now) + 10
    kv.set(S, "k", KvValue("1", True), expiration=end, metadata={"a": 1})

    kv.update_metadata(S, "k", {"b": 2})
    assert kv.get(S, "k") == KvEntry(KvValue("1", True), end, {"b": 2})
    kv.update_metadata(S, "k", None)

    assert kv.get(S, "k") == KvEntry(KvValue("1", True), end, None)
    with pytest.raises(TooLarge):
        kv.update_metadata(S, "k", "m" * 3 * 1024 * 1024)
    kv_clock.now += 20
    with pytest.raises(NotFound) as refused:
        kv.update_metadata(S, "k", 1)
    assert str(refused.value) == "key not found"
    with pytest.raises(NotFound):
        kv.update_metadata("no such store", "k", 1)


def test_given_increments_then_they_add_up(kv: KvGuild) -> None:
    assert kv.increment(S, "n") == 1
    assert kv.increment(S, "n", 41) == 42
    assert kv.increment(S, "n", -2) == 40
    assert kv.increment(S, "n", 0.5) == 40.5
    assert kv.increment(S, "n", 0.5) == 41

    assert kv.get(S, "n") == KvEntry(KvValue("41", True))


def test_given_a_number_in_a_string_then_an_increment_leaves_it_one(kv: KvGuild, kv_clock: Any) -> None:
    end = int(kv_clock.now) + 10
    kv.set(S, "n", KvValue("7"), expiration=end, metadata=1)

    assert kv.increment(S, "n", ttl_s=99) == 8

    assert kv.get(S, "n") == KvEntry(KvValue("8"), end, 1)


def test_given_a_new_counter_then_its_time_to_live_is_the_one_given(kv: KvGuild, kv_clock: Any) -> None:
    kv.increment(S, "n", ttl_s=10)
    kv.increment(S, "n", ttl_s=1_000)

    kv_clock.now += 12

    assert kv.increment(S, "n") == 1


@pytest.mark.parametrize("value", [V, KvValue(""), KvValue("true", True), KvValue("[1]", True), KvValue('"1"', True)])
def test_given_what_is_no_number_then_an_increment_is_refused(kv: KvGuild, value: KvValue) -> None:
    kv.set(S, "k", value)

    with pytest.raises(Conflict):
        kv.increment(S, "k")

    assert kv.get(S, "k") == KvEntry(value)


def test_given_sums_that_a_script_cannot_hold_then_they_are_refused(kv: KvGuild) -> None:
    kv.set(S, "k", KvValue(str(2**53 - 1), True))

    for by in (1, 2**53 - 1):
        with pytest.raises(Conflict):
            kv.increment(S, "k", by)
    for by in (float("nan"), float("inf"), 10**400, True):
        with pytest.raises(BadRequest):
            kv.increment(S, "k", by)
    assert kv.increment(S, "k", -1) == 2**53 - 2


def test_given_compare_and_set_then_only_what_was_expected_is_replaced(kv: KvGuild) -> None:
    assert kv.set_if(S, "k", KvValue("1"), expected=None) is True
    assert kv.set_if(S, "k", KvValue("2"), expected=None) is False
    assert kv.set_if(S, "k", KvValue("2"), expected=KvValue("0")) is False
    assert kv.set_if(S, "k", KvValue("2"), expected=KvValue("1", True)) is False
    assert kv.set_if(S, "k", KvValue("2"), expected=KvValue("1"), metadata=7) is True

    assert kv.get(S, "k") == KvEntry(KvValue("2"), None, 7)
    kv.delete(S, "k")
    assert kv.set_if(S, "k", V, expected=KvValue("2")) is False


def test_given_json_when_compared_then_the_order_of_members_does_not_matter_and_kinds_do(kv: KvGuild) -> None:
    kv.set(S, "k", KvValue('{"a":1,"b":[true]}', True))

    assert kv.set_if(S, "k", V, expected=KvValue('{"a":1,"b":[1]}', True)) is False
    assert kv.set_if(S, "k", V, expected=KvValue('{"b": [true], "a": 1}', True)) is True


def test_given_an_expired_key_then_it_counts_as_absent_for_compare_and_set(kv: KvGuild, kv_clock: Any) -> None:
    kv.set(S, "k", V, ttl_s=1)
    kv_clock.now += 5

    assert kv.set_if(S, "k", V, expected=V) is False
    assert kv.set_if(S, "k", KvValue("w"), expected=None) is True
    assert kv.get(S, "k") == KvEntry(KvValue("w"))


def test_given_deletes_then_the_first_finds_it_and_the_second_does_not(kv: KvGuild) -> None:
    kv.set(S, "k", V)

    assert kv.delete(S, "k") is True
    assert kv.delete(S, "k") is False
    assert kv.get(S, "k") is None
    assert [info.name for info in kv.stores()] == [S]  # an empty store is one


def test_given_stores_when_made_and_dropped_then_they_are_there_and_gone(kv: KvGuild) -> None:
    made = kv.create(S)
    assert kv.require(S) == made
    with pytest.raises(Conflict):
        kv.create(S)
    kv.set(S, "k", V)

    kv.drop(S)

    for call in (lambda: kv.require(S), lambda: kv.drop(S), lambda: kv.snapshot(S)):
        with pytest.raises(NotFound) as refused:
            call()
        assert str(refused.value) == "store not found"
    kv.set(S, "other", V)
    assert names(kv.list(S)) == ["other"]
    assert kv.require(S).store_id != made.store_id


def test_given_writes_then_usage_follows_each(kv: KvGuild, kv_clock: Any) -> None:
    kv.set(S, "key", KvValue("ü" * 10))
    assert kv.usage(S) == KvUsage(1, 3 + 20)
    kv.set(S, "key", KvValue("v"))
    assert kv.usage(S) == KvUsage(1, 4)
    kv.set(S, "key", KvValue("v"), metadata={"a": 1})
    assert kv.usage(S) == KvUsage(1, 4 + 3 + len('{"expiration":null,"metadata":{"a":1}}'))
    end = int(kv_clock.now) + 10
    kv.set(S, "key", KvValue("v"), expiration=end)
    assert kv.usage(S) == KvUsage(1, 4 + 3 + len(f'{{"expiration":{end},"metadata":null}}'))
    kv.set("other", "k", V)
    assert kv.guild_bytes() == kv.usage(S).stored_bytes + 2

    kv_clock.now += 20

    assert kv.usage(S) == KvUsage(0, 0)
    assert kv.guild_bytes() == 2


def test_given_a_full_store_then_growth_is_refused_and_nothing_changes(open_kv: OpenKv) -> None:
    kv = open_kv(max_store_bytes=100)
    kv.set(S, "a", KvValue("v" * 49))
    kv.set(S, "b", KvValue("v" * 49))

    for call in (
        lambda: kv.set(S, "c", KvValue("")),
        lambda: kv.set(S, "a", KvValue("v" * 50)),
        lambda: kv.increment(S, "n"),
        lambda: kv.update_metadata(S, "a", 1),
    ):
        with pytest.raises(KvQuotaExceeded) as refused:
            call()
        assert str(refused.value) == "kv store storage quota exceeded"
        assert refused.value.code == "KV_QUOTA_EXCEEDED"
    assert kv.usage(S) == KvUsage(2, 100)
    kv.set("other", "a", KvValue("v" * 99))
    kv.set(S, "a", KvValue("v" * 48))
    kv.delete(S, "b")
    kv.set(S, "c", KvValue("v" * 50))


def test_given_a_full_guild_then_growth_is_refused_in_every_store(open_kv: OpenKv) -> None:
    kv = open_kv(max_guild_bytes=100)
    kv.set("a", "k", KvValue("v" * 59))
    kv.set("b", "k", KvValue("v" * 39))

    for store in ("a", "b", "new"):
        with pytest.raises(KvQuotaExceeded) as refused:
            kv.set(store, "other", V)
        assert str(refused.value) == "kv guild storage quota exceeded"
    assert [info.name for info in kv.stores()] == ["a", "b"]
    kv.drop("a")
    kv.set("b", "other", V)


def test_given_expired_entries_then_they_take_no_room(open_kv: OpenKv, kv_clock: Any) -> None:
    kv = open_kv(max_store_bytes=100, max_guild_bytes=150)
    kv.set("a", "k", KvValue("v" * 10), ttl_s=1)
    kv.set("b", "k", KvValue("v" * 10), ttl_s=1)
    kv_clock.now += 100

    kv.set("a", "l", KvValue("v" * 99))
    kv.set("b", "l", KvValue("v" * 49))

    assert kv.guild_bytes() == 150


def test_given_as_many_stores_as_allowed_then_no_more_are_made(open_kv: OpenKv) -> None:
    kv = open_kv(max_stores=2)
    kv.set("a", "k", V)
    kv.create("b")

    for call in (lambda: kv.set("c", "k", V), lambda: kv.create("c"), lambda: kv.restore("c", [])):
        with pytest.raises(KvQuotaExceeded):
            call()
    kv.set("a", "l", V)


def test_given_too_many_writes_within_a_minute_then_they_are_refused_until_it_has_passed(
    open_kv: OpenKv, kv_clock: Any
) -> None:
    kv = open_kv(writes_per_minute=3)
    kv.set(S, "a", V)
    kv_clock.now += 30
    kv.increment(S, "n")
    assert kv.set_if(S, "b", V, expected=None)

    with pytest.raises(KvRateLimited) as refused:
        kv.set(S, "c", V)

    assert str(refused.value) == "kv write rate limit exceeded; retry later"
    assert refused.value.details["retry_after_s"] == 30
    kv.update_metadata(S, "a", 1)
    kv.delete(S, "a")
    kv.set("other", "a", V)
    kv_clock.now += 30
    kv.set(S, "c", V)
    with pytest.raises(KvRateLimited):
        kv.set(S, "d", V)


def test_given_a_snapshot_then_later_changes_do_not_show_in_it(kv: KvGuild, kv_clock: Any) -> None:
    kv.set(S, "b", KvValue("1", True), metadata={"a": 1})
    kv.set(S, "a", V, ttl_s=5)
    kv.set(S, "c", V, ttl_s=1)
    kv.set(S, "d", V)
    kv.delete(S, "d")
    kv_clock.now += 3

    snapshot = kv.snapshot(S)
    kv.set(S, "a", KvValue("changed"))
    kv.set(S, "new", V)
    kv.delete(S, "b")
    kv_clock.now += 100
    entries = list(snapshot.entries())
    snapshot.close()
    snapshot.close()

    assert entries == [("a", KvEntry(V, 1_000_006)), ("b", KvEntry(KvValue("1", True), None, {"a": 1}))]


def test_given_a_snapshot_when_restored_then_the_store_is_as_it_was(kv: KvGuild) -> None:
    for number in range(50):
        kv.set(S, f"k{number}", KvValue(str(number), True), metadata=number, expiration=2_000_000)
    before, used = contents(kv), kv.usage(S)
    kv.delete(S, "k1")
    kv.set(S, "k2", V)
    kv.set(S, "new", V)

    assert kv.restore(S, list(before.items())) == 50

    assert contents(kv) == before
    assert kv.usage(S) == used
    kv.set(S, "after", V)
    assert len(kv.list(S).keys) == 51


def test_given_a_store_that_is_not_there_when_restored_from_another_then_it_is_a_copy(kv: KvGuild) -> None:
    kv.set(S, "k", V)
    snapshot = kv.snapshot(S)

    assert kv.restore("copy", snapshot.entries()) == 1

    snapshot.close()
    assert contents(kv, "copy") == contents(kv)


def _fails_in_the_middle() -> Any:
    yield "a", KvEntry(KvValue("new"))
    raise BadRequest("the file ends in the middle")


@pytest.mark.parametrize(
    "entries",
    [
        _fails_in_the_middle,
        lambda: [("b", KvEntry(V)), ("a", KvEntry(V))],
        lambda: [("a", KvEntry(V)), ("a", KvEntry(V))],
        lambda: [("a", KvEntry(V)), ("x" * 600, KvEntry(V))],
        lambda: [("a", KvEntry(V)), ("b", KvEntry(KvValue("v" * 200)))],
    ],
)
def test_given_entries_that_cannot_be_restored_then_the_store_stays_as_it_was(open_kv: OpenKv, entries: Any) -> None:
    kv = open_kv(max_store_bytes=100)
    kv.set(S, "k", V)

    with pytest.raises(FloraError):
        kv.restore(S, entries())

    assert contents(kv) == {"k": KvEntry(V)}
    kv.set(S, "l", V)
    assert kv.usage(S) == KvUsage(2, 4)
    with pytest.raises(FloraError):
        kv.restore("new", entries())
    assert [info.name for info in kv.stores()] == [S]


def test_given_a_replacement_filled_on_another_thread_then_the_store_changes_when_it_is_committed(kv: KvGuild) -> None:
    kv.set(S, "a", V)
    replacement = kv.replacement(S)
    with ThreadPoolExecutor(1) as beside:
        beside.submit(replacement.fill, [("b", KvEntry(V)), ("c", KvEntry(V, None, 1))]).result()
    kv.set(S, "d", V)
    before = contents(kv)

    count = replacement.commit()
    replacement.abandon()
    replacement.abandon()

    assert set(before) == {"a", "d"}
    assert count == 2
    assert contents(kv) == {"b": KvEntry(V), "c": KvEntry(V, None, 1)}
    assert kv.guild_bytes() == kv.usage(S).stored_bytes


def test_given_a_replacement_that_is_abandoned_then_nothing_is_left_of_it(kv: KvGuild) -> None:
    kv.set(S, "a", V)
    for store in (S, "new"):
        replacement = kv.replacement(store)
        replacement.fill([("b", KvEntry(V))])
        replacement.abandon()

    assert contents(kv) == {"a": KvEntry(V)}
    assert [info.name for info in kv.stores()] == [S]


def test_given_a_guild_that_grew_meanwhile_when_a_replacement_is_committed_then_its_total_holds(
    open_kv: OpenKv,
) -> None:
    kv = open_kv(max_guild_bytes=10)
    kv.set(S, "a", V)
    replacement = kv.replacement(S)
    replacement.fill([("b", KvEntry(KvValue("12345678")))])
    kv.set("other", "k", V)

    with pytest.raises(KvQuotaExceeded):
        replacement.commit()
    kv.delete("other", "k")
    count = replacement.commit()
    replacement.abandon()

    assert count == 1
    assert contents(kv) == {"b": KvEntry(KvValue("12345678"))}


def test_given_a_batch_with_a_refused_call_then_the_others_hold(kv: KvGuild) -> None:
    with kv.batch():
        kv.set(S, "a", V)
        with pytest.raises(BadRequest):
            kv.set(S, "", V)
        kv.set("new", "b", V)
        assert kv.get(S, "a") == KvEntry(V)
        with kv.batch():
            kv.increment(S, "n")

    assert names(kv.list(S)) == ["a", "n"]
    assert names(kv.list("new")) == ["b"]


def test_given_expired_keys_when_swept_then_they_are_removed_and_no_other(kv: KvGuild, kv_clock: Any) -> None:
    for number in range(10):
        kv.set(S, f"k{number}", V, ttl_s=number % 2 * 100 + 1)
    kv.set(S, "k0", V, ttl_s=1_000)
    kv.set(S, "k2", V)
    kv_clock.now += 10

    assert kv.sweep(most=2) == 2
    assert kv.sweep() == 1
    assert kv.sweep() == 0

    assert names(kv.list(S)) == ["k0", "k1", "k2", "k3", "k5", "k7", "k9"]


def test_given_nothing_to_do_then_maintenance_says_so(kv: KvGuild) -> None:
    kv.set(S, "k", V)

    assert kv.maintain() is False


def test_given_closed_stores_when_used_then_every_call_is_refused(kv: KvGuild) -> None:
    kv.set(S, "k", V)
    kv.close()
    kv.close()
    calls: list[Callable[[], Any]] = [
        lambda: kv.get(S, "k"),
        lambda: kv.set(S, "k", V),
        lambda: kv.set_if(S, "k", V, expected=None),
        lambda: kv.increment(S, "k"),
        lambda: kv.update_metadata(S, "k", 1),
        lambda: kv.delete(S, "k"),
        lambda: kv.list(S),
        kv.stores,
        lambda: kv.require(S),
        lambda: kv.create("new"),
        lambda: kv.drop(S),
        lambda: kv.usage(S),
        kv.guild_bytes,
        lambda: kv.snapshot(S),
        lambda: kv.restore(S, []),
        kv.sweep,
        kv.maintain,
        kv.batch,
    ]

    for call in calls:
        with pytest.raises(Unavailable):
            call()


@pytest.mark.parametrize(
    "open_kv", ["files", "files synced always", pytest.param("postgres", marks=pytest.mark.service)], indirect=True
)
def test_given_closed_stores_when_opened_again_then_everything_is_there(open_kv: OpenKv) -> None:
    kv = open_kv()
    kv.set(S, "k", KvValue("1", True), expiration=2_000_000, metadata={"a": 1})
    kv.set("other", "k", V)
    kv.set("other", "l", V)
    kv.delete("other", "k")
    infos, used = kv.stores(), kv.usage(S)
    kv.close()

    again = open_kv()

    assert again.stores() == infos
    assert again.guild_bytes() == used.stored_bytes + 2
    assert again.get(S, "k") == KvEntry(KvValue("1", True), 2_000_000, {"a": 1})
    assert names(again.list("other")) == ["l"]
