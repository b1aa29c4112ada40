"""What only the key-value stores on Postgres can get wrong: connections that break, transactions, two owners."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest

from flora.messages.errors import StorageError, Unavailable
from flora.messages.ids import GuildId
from flora.messages.kv import KvEntry, KvUsage, KvValue
from flora.storage.kv import KvLimits
from flora.storage.postgres import PostgresKv, migrate

pytestmark = pytest.mark.service

G = GuildId("1")
S = "s"
V = KvValue("v")


@pytest.fixture
def url(postgres_url: str) -> str:
    migrate(postgres_url)
    return postgres_url


def open_kv(url: str) -> PostgresKv:
    return PostgresKv(url, G, limits=KvLimits(writes_per_minute=0))


@pytest.fixture
def kv(url: str) -> Iterator[PostgresKv]:
    kv = open_kv(url)
    yield kv
    kv.close()


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def cut_connections(url: str) -> None:
    run(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'flora kv'")


def test_given_a_connection_that_broke_when_used_then_one_call_fails_and_the_next_works(
    url: str, kv: PostgresKv
) -> None:
    kv.set(S, "k", V)
    cut_connections(url)

    with pytest.raises(Unavailable):
        kv.get(S, "k")

    assert kv.get(S, "k") == KvEntry(V)


def test_given_a_connection_that_breaks_within_a_batch_then_nothing_of_it_holds(url: str, kv: PostgresKv) -> None:
    kv.set(S, "before", V)

    def break_in_the_middle() -> None:
        with kv.batch():
            kv.set(S, "a", V)
            cut_connections(url)
            for key in ("b", "c"):  # the caller goes on, as a script may
                with pytest.raises(Unavailable):
                    kv.set(S, key, V)

    with pytest.raises((Unavailable, StorageError)):
        break_in_the_middle()

    assert [line.name for line in kv.list(S).keys] == ["before"]
    assert kv.usage(S) == KvUsage(1, 7)


def test_given_a_statement_that_fails_within_a_batch_then_the_batch_says_that_it_is_lost(
    url: str, kv: PostgresKv
) -> None:
    kv.set(S, "before", V)
    run(url, "ALTER TABLE kv_entries ADD CONSTRAINT no_x CHECK (key <> 'x')")

    def fail_in_the_middle() -> None:
        with kv.batch():
            kv.set(S, "a", V)
            with pytest.raises(StorageError):
                kv.set(S, "x", V)

    with pytest.raises(StorageError):
        fail_in_the_middle()

    assert [line.name for line in kv.list(S).keys] == ["before"]
    kv.set(S, "after", V)


def test_given_two_owners_when_both_count_then_no_increment_is_lost(url: str, kv: PostgresKv) -> None:
    kv.set(S, "n", KvValue("0", True))

    def count() -> None:
        own = open_kv(url)
        for _ in range(25):
            own.increment(S, "n")
        own.close()

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert kv.get(S, "n") == KvEntry(KvValue("75", True))
    assert kv.usage(S) == KvUsage(1, 3)


def test_given_any_writes_then_the_counters_are_the_sums(url: str, kv: PostgresKv) -> None:
    for number in range(20):
        kv.set(S, f"k{number % 7}", KvValue("v" * number), ttl_s=1 if number % 5 == 0 else None, metadata=number)
    kv.delete(S, "k3")
    kv.sweep()
    kv.restore("copy", [("a", KvEntry(V)), ("b", KvEntry(V, None, 1))])

    counted = run(url, "SELECT id, key_count, counted_bytes FROM kv_stores ORDER BY id")
    sums = run(url, "SELECT store_id, count(*), sum(counted_bytes) FROM kv_entries GROUP BY 1 ORDER BY 1")
    assert counted == sums
