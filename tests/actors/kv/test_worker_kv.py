from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from flora.actors.kv.service import IDLE_S
from flora.messages.base import Failed, Ok
from flora.messages.dispatch import Outcome
from flora.messages.errors import Conflict, KvRateLimited, NotFound, Unavailable
from flora.messages.ids import GuildId, ReqId
from flora.messages.kv import (
    KvCreateStore,
    KvDeleteKey,
    KvDropStore,
    KvEntry,
    KvGetKey,
    KvListKeys,
    KvListStores,
    KvReadUsage,
    KvSetKey,
    KvSetMetadata,
    KvUsage,
    KvValue,
    ReleaseKv,
)
from flora.messages.settings import KvBackendKind
from flora.storage.kv import KvFiles
from flora.storage.postgres.kv_connection import KvConnection

if TYPE_CHECKING:
    from conftest import KvWorker

pytestmark = pytest.mark.service

GUILD, OTHER = GuildId("55"), GuildId("66")
MakeWorker = Callable[..., "KvWorker"]


def handler(body: str) -> str:
    """A script that runs this for each message, and replies with what it returns or throws as JSON."""
    return f"""on('messageCreate', async (c) => {{
        const text = c.msg.content
        const run = async () => {{ {body} }}
        await c.reply(JSON.stringify(await run().catch((e) => [e.name, e.message, e.code]) ?? null))
    }})"""


def taken_by(files: KvFiles, guild_id: GuildId = GUILD) -> bool:
    """Whether somebody has the guild's stores."""
    try:
        files.open_guild(guild_id).close()
    except Conflict:
        return True
    return False


# What scripts see


def test_given_any_json_when_set_in_the_default_store_then_get_returns_what_was_set(kv_worker: MakeWorker) -> None:
    worker = kv_worker()
    worker.load(
        handler("""const values = ['text', '', 5, -0.25, true, false, null, [], { a: [1, { b: 'é' }] }, '{"not":"parsed"}', '\\ud800']
        await Promise.all(values.map((value, index) => kv.set('k' + index, value)))
        return Promise.all(values.map((_, index) => kv.get('k' + index)))""")
    )

    worker.dispatch(1, "go")

    kept = ["text", "", 5, -0.25, True, False, None, [], {"a": [1, {"b": "é"}]}, '{"not":"parsed"}', "\ufffd"]
    assert worker.hears() == [kept]


def test_given_a_named_store_when_numbers_are_set_then_they_are_strings_as_ever(kv_worker: MakeWorker) -> None:
    worker = kv_worker()
    worker.load(
        handler("""const s = kv.store('s')
        await s.set(5, 6, { metadata: { by: 'me' }, expiration: 4102444800n })
        await s.set('flag', true)
        const first = await s.list({ limit: 1 })
        return [await s.get('5'), await s.get('flag'), await s.getWithMetadata('5'), await s.get('none'), await s.getWithMetadata('none'),
            first, await s.list({ cursor: first.cursor }), await store('nobody').list(), await kv.get('5')]""")
    )

    worker.dispatch(1, "go")

    line = {"name": "5", "expiration": 4102444800, "metadata": {"by": "me"}}
    assert worker.hears() == [
        [
            *("6", "true", {"value": "6", "metadata": {"by": "me"}, "expiration": 4102444800}, None, {"value": None}),
            {"keys": [line], "listComplete": False, "cursor": "5"},
            {"keys": [{"name": "flag"}], "listComplete": True},
            {"keys": [], "listComplete": True},
            None,
        ]
    ]


def test_given_ttl_increment_and_conditions_when_used_then_each_does_one_step(kv_worker: MakeWorker) -> None:
    worker = kv_worker()
    worker.load(
        handler("""await kv.set('gone', 1, { ttl: -1 })
        const now = Date.now() / 1000
        await kv.set('soon', 1, { ttl: 60 })
        const left = (await kv.getWithMetadata('soon')).expiration - now
        const steps = [await kv.get('gone'), left > 59 && left < 62, await kv.increment('n'), await kv.increment('n', 4), await kv.get('n'),
            await kv.setIf('lock', 'a', { absent: true }), await kv.setIf('lock', 'b', { absent: true }),
            await kv.setIf('lock', { c: 1 }, { value: 'a' }), await kv.setIf('lock', 'd', { value: { c: 1 } }), await kv.get('lock')]
        await kv.set('m', 1, { metadata: 1 })
        await kv.updateMetadata('m', { x: 2 })
        await kv.delete('n')
        return [...steps, (await kv.getWithMetadata('m')).metadata, await kv.get('n')]""")
    )

    worker.dispatch(1, "go")

    assert worker.hears() == [[None, True, 1, 5, 5, True, False, True, True, "d", {"x": 2}, None]]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("await store('a/b').get('k')", ["store_name contains invalid characters", "BAD_REQUEST"]),
        ("await kv.get('')", ["key cannot be empty", "BAD_REQUEST"]),
        ("await kv.set('k'.repeat(513), 1)", ["key exceeds maximum size of 512 characters", "TOO_LARGE"]),
        ("await store('s').set('k', 'ä'.repeat(524289))", ["value exceeds maximum size of 1MB", "TOO_LARGE"]),
        ("await kv.updateMetadata('none', 1)", ["key not found", "NOT_FOUND"]),
        ("await kv.set('t', 'x'); await kv.increment('t')", ["the value is not a number", "CONFLICT"]),
        (
            "await kv.setIf('k', 1, {})",
            ["setIf needs { value } or { absent: true } to compare with", "BAD_REQUEST"],
        ),
        (
            "await kv.set('k', 1, { ttl: 1, expiration: 1 })",
            ["expiration and ttl cannot both be given", "BAD_REQUEST"],
        ),
        ("await kv.set('k', 1, { ttl: 'soon' })", ["ttl is not a number", "BAD_REQUEST"]),
    ],
)
def test_given_a_bad_call_when_made_then_the_script_gets_a_plain_error_with_text_and_code(
    kv_worker: MakeWorker, body: str, error: list[str]
) -> None:
    worker = kv_worker()
    worker.load(handler(body))

    worker.dispatch(1, "go")

    assert worker.hears() == [["Error", *error]]


def test_given_a_limit_on_writes_when_passed_then_the_script_is_told_and_the_others_go_on(
    kv_worker: MakeWorker,
) -> None:
    worker = kv_worker({"writes_per_minute": 2})
    worker.load(
        handler("""const s = store(text)
        await s.set('a', 1); await s.set('b', 1); await s.delete('a')
        return s.set('c', 1)""")
    )

    worker.dispatch(1, "one", "two")

    refused = ["Error", "kv write rate limit exceeded; retry later", KvRateLimited.code]
    assert worker.hears(2) == [refused, refused]


# Order, batches and limits


def test_given_events_that_read_change_and_write_when_they_overlap_then_nothing_is_lost(kv_worker: MakeWorker) -> None:
    worker = kv_worker()
    worker.load(
        """on('messageCreate', async (c) => {
        const n = (await kv.get('n')) ?? 0
        await null
        await kv.set('n', n + 1)
        if (n === 49) await c.reply(JSON.stringify(await kv.get('n')))
    })"""
    )

    worker.dispatch(1, *["go"] * 50)

    assert worker.hears() == [50]
    assert (worker.counters.dispatch_total, worker.counters.dispatch_errors) == (49, 0)


@pytest.mark.parametrize("durability", ["interval", "always"])
def test_given_a_hundred_writes_at_once_when_awaited_then_they_are_one_batch_with_one_sync(
    kv_worker: MakeWorker, durability: str
) -> None:
    worker = kv_worker({"durability": durability}, ops_per_second=10)
    files: Any = worker._kv._backend
    synced: list[int] = []
    sync = files._files._syncer.fsync
    files._files._syncer.fsync = lambda fileno: (synced.append(fileno), sync(fileno))
    worker.load(
        handler("""await kv.set('first', 1)
        await Promise.all(Array.from({ length: 100 }, (_, i) => kv.set('k' + i, i)))
        return (await kv.list({ limit: 1000 })).keys.length""")
    )

    worker.dispatch(1, "go")

    assert worker.hears() == [101]
    assert worker.counters.kv_sets == 101
    assert worker.counters.kv_batches == 3
    assert len(synced) == (2 if durability == "always" else 0)


def test_given_too_many_operations_at_once_when_asked_for_then_those_beyond_are_refused(kv_worker: MakeWorker) -> None:
    worker = kv_worker(max_pending_ops=20)
    worker.load(
        handler("""const all = await Promise.allSettled(Array.from({ length: 30 }, (_, i) => kv.get('k' + i)))
        return [all.filter((each) => each.status === 'fulfilled').length, all[29].reason.code]""")
    )

    worker.dispatch(1, "go")

    assert worker.hears() == [[20, "LIMIT_REACHED"]]


def test_given_much_work_with_stores_when_done_then_it_counts_as_the_guilds_processor_time(
    kv_worker: MakeWorker,
) -> None:
    worker = kv_worker()
    worker.load(
        handler("""await Promise.all(Array.from({ length: 900 }, (_, i) => kv.set('k' + i, 'x'.repeat(1000))))
        return 'done'""")
    )
    meters = worker.session()._meters
    charged: list[int] = []
    charge = meters.charge
    meters.charge = lambda used_us, now_s: (charged.append(used_us), charge(used_us, now_s))

    worker.dispatch(1, "go")

    assert worker.hears() == ["done"]
    assert sum(charged) > 1000


def test_given_a_batch_that_takes_long_when_it_is_done_then_another_guild_does_not_wait_for_its_end(
    kv_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flora.actors.kv.lane.SLICE_S", 0.0)  # each operation is a part of its own
    worker = kv_worker()
    many = "await Promise.all(Array.from({ length: 300 }, (_, i) => kv.set('k' + i, i))); return 'many'"
    worker.load(handler(many))
    worker.load(handler("await kv.set('k', text); return 'one'"), OTHER)

    worker.dispatch(1, "go")
    worker.until(lambda: GUILD in worker._kv._lanes and len(worker._kv._lanes[GUILD]))
    worker.dispatch(2, "go", guild_id=OTHER)

    assert worker.hears(2) == ["one", "many"]
    reply = worker.call(KvReadUsage(store="default"))
    assert isinstance(reply, Ok)
    assert reply.value["default"].keys == 300


# Who has the stores


def test_given_a_guild_when_its_script_writes_then_this_worker_has_its_stores_until_it_leaves(
    kv_worker: MakeWorker, other_owner: KvFiles
) -> None:
    worker = kv_worker()
    worker.load(handler("await kv.set('k', text); return 'ok'"))
    assert not taken_by(other_owner)

    worker.dispatch(1, "value")
    worker.hears()

    assert taken_by(other_owner)
    worker.unload()
    assert not taken_by(other_owner)
    assert other_owner.open_guild(GUILD).get("default", "k") == KvEntry(KvValue("value"))


def test_given_another_owner_when_it_lets_go_then_what_was_asked_for_is_done(
    kv_worker: MakeWorker, other_owner: KvFiles
) -> None:
    worker = kv_worker()
    worker.load(
        handler("const before = await kv.get('k'); await kv.set('k', text); return [before, await kv.get('k')]")
    )
    before = other_owner.open_guild(GUILD)
    before.set("default", "k", KvValue("theirs"))

    worker.dispatch(1, "ours")
    worker.until(lambda: GUILD in worker._kv._lanes)
    before.close()

    assert worker.hears() == [["theirs", "ours"]]


def test_given_a_handler_that_timed_out_waiting_for_its_stores_when_they_open_then_it_does_not_act(
    kv_worker: MakeWorker, other_owner: KvFiles
) -> None:
    worker = kv_worker(dispatch_timeout_s=0.3)
    worker.load(handler("if (text === 'late') await kv.set('late', 1); else return kv.get('late')"))
    before = other_owner.open_guild(GUILD)

    worker.dispatch(1, "late")
    assert worker.outcomes(1) == [Outcome.TIMED_OUT]
    before.close()
    worker.dispatch(2, "look")

    assert worker.hears() == [None]


def test_given_stores_that_never_come_free_when_waited_for_then_the_script_is_told(
    kv_worker: MakeWorker, other_owner: KvFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flora.actors.kv.lane.OPEN_LIMIT_S", 0.1)
    worker = kv_worker()
    worker.load(handler("return kv.get('k')"))
    other_owner.open_guild(GUILD)

    worker.dispatch(1, "go")

    name, text, code = worker.hears()[0]
    assert (name, code) == ("Error", Unavailable.code)
    assert "in use by another process" in text


def test_given_a_large_store_when_first_used_then_it_is_opened_beside_the_workers_thread(
    kv_worker: MakeWorker, other_owner: KvFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = other_owner.open_guild(GUILD)
    with before.batch():
        for number in range(500):
            before.set("default", f"k{number}", KvValue("x" * 1000))
    before.close()
    worker = kv_worker()
    works: list[object] = []
    beside = worker._kv.beside
    monkeypatch.setattr(worker._kv, "beside", lambda work, then: (works.append(work), beside(work, then)))
    worker.load(
        handler("return [(await kv.get('k499')).length, (await kv.list({ prefix: 'k49', limit: 3 })).keys.length]")
    )

    worker.dispatch(1, "go")

    assert worker.hears() == [[1000, 3]]
    assert len(works) == 1


def test_given_a_large_store_that_opens_slowly_when_a_handler_waits_for_it_then_that_time_is_not_the_scripts(
    kv_worker: MakeWorker, other_owner: KvFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = other_owner.open_guild(GUILD)
    before.set("default", "k", KvValue("v"))
    before.close()
    monkeypatch.setattr("flora.storage.kv.files.WARM_BYTES", 1)
    worker = kv_worker(dispatch_timeout_s=0.2)
    opened = threading.Event()
    beside = worker._kv.beside
    monkeypatch.setattr(worker._kv, "beside", lambda work, then: beside(lambda: (opened.wait(10), work())[1], then))
    worker.load(handler("if (text === 'spin') { await kv.get('k'); for (;;) await null } return kv.get('k')"))

    worker.dispatch(1, "go")
    late_s = time.monotonic() + 0.5
    worker.until(lambda: time.monotonic() > late_s)
    opened.set()

    assert worker.hears() == ["v"]
    worker.dispatch(2, "spin")
    assert worker.outcomes(2)[1] == Outcome.TIMED_OUT


def test_given_a_release_when_the_router_asks_for_it_then_it_is_answered_once_another_owner_may_come(
    kv_worker: MakeWorker, other_owner: KvFiles
) -> None:
    worker = kv_worker({"durability": "always"})
    worker.load(handler("await kv.set('k', text); return 'ok'"))
    worker.dispatch(1, "value")
    worker.hears()

    worker.receiveMessage(ReleaseKv(req_id=ReqId("release"), guild_id=GUILD), "router")

    assert isinstance(worker.until(lambda: worker.answer("release")), Ok)
    assert not taken_by(other_owner)


@pytest.mark.parametrize("durability", ["interval", "always"])
def test_given_a_guild_without_script_when_nobody_calls_for_a_while_then_its_stores_are_closed(
    kv_worker: MakeWorker, other_owner: KvFiles, monkeypatch: pytest.MonkeyPatch, durability: str
) -> None:
    worker = kv_worker({"durability": durability})
    worker.call(KvCreateStore(store="s"))
    worker.load(handler("return kv.get('k')"), OTHER)
    worker.dispatch(1, "go", guild_id=OTHER)
    worker.hears()
    now_s = worker._kv.now_s()

    worker._kv.tick()
    worker.until(lambda: all(lane.is_idle for lane in worker._kv._lanes.values()))
    assert taken_by(other_owner)
    monkeypatch.setattr(worker._kv, "now_s", lambda: now_s + IDLE_S + 10)
    worker._kv.tick()
    worker.until(lambda: GUILD not in worker._kv._lanes)

    assert not taken_by(other_owner)
    assert taken_by(other_owner, OTHER)


# Clients


@pytest.mark.parametrize("durability", ["interval", "always"])
def test_given_no_script_when_a_client_calls_then_the_worker_has_the_stores_all_the_same(
    kv_worker: MakeWorker, durability: str
) -> None:
    worker = kv_worker({"durability": durability})

    def value(operation: Any) -> Any:
        reply = worker.call(operation)
        return reply.value if isinstance(reply, Ok) else reply.code

    assert value(KvListStores()) == ()
    assert value(KvSetKey(store="s", key="k", value=KvValue("v"))) == NotFound.code
    made = value(KvCreateStore(store="s"))
    assert value(KvCreateStore(store="s")) == Conflict.code
    assert value(KvListStores()) == (made,)
    assert value(KvSetKey(store="s", key="k", value=KvValue("[1]", is_json=True), metadata={"m": 1})) is None
    assert value(KvGetKey(store="s", key="k")) == KvEntry(KvValue("[1]", is_json=True), None, {"m": 1})
    assert value(KvGetKey(store="s", key="none")) is None
    assert value(KvSetMetadata(store="s", key="none", metadata=1)) == NotFound.code
    assert [key.name for key in value(KvListKeys(store="s")).keys] == ["k"]
    assert value(KvListKeys(store="t")) == NotFound.code
    assert value(KvReadUsage()) == {"s": value(KvReadUsage(store="s"))["s"]}
    assert value(KvDeleteKey(store="s", key="k")) is True
    assert value(KvReadUsage(store="s")) == {"s": KvUsage(0, 0)}
    assert value(KvDropStore(store="s")) is None
    assert value(KvDropStore(store="s")) == NotFound.code


def test_given_a_client_and_a_script_when_both_write_then_each_sees_the_other(kv_worker: MakeWorker) -> None:
    worker = kv_worker()
    worker.load(handler("const before = await store('s').get('k'); await store('s').set('k', text); return before"))
    worker.call(KvCreateStore(store="s"))
    worker.call(KvSetKey(store="s", key="k", value=KvValue("client")))

    worker.dispatch(1, "script")

    assert worker.hears() == ["client"]
    reply = worker.call(KvGetKey(store="s", key="k"))
    assert isinstance(reply, Ok)
    assert reply.value.value.text == "script"


# The index


def test_given_stores_that_come_and_go_when_the_deployer_fails_first_then_it_is_told_again_what_there_is(
    kv_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flora.actors.kv.index.AGAIN_S", 0.01)
    worker = kv_worker()
    worker.load(handler("await store(text).set('k', 1); return 'ok'"))

    worker.dispatch(1, "a")
    first = worker.until(worker.notes)[0]
    worker.dispatch(2, "b")
    worker.hears(2)
    worker.receiveMessage(Failed(req_id=first.req_id, code=Unavailable.code, message="no"), "deployer")
    second = worker.until(lambda: worker.notes()[1:])[0]
    worker.receiveMessage(Ok(req_id=second.req_id), "deployer")
    worker.call(KvDropStore(store="a"))
    third = worker.until(lambda: worker.notes()[2:])[0]

    told = [[info.name for info in note.stores] for note in (first, second, third)]
    assert told == [["a"], ["a", "b"], ["b"]]
    assert len(worker.notes()) == 3


def test_given_a_script_that_never_stops_asking_when_its_budget_is_used_up_then_its_operations_wait_for_more(
    kv_worker: MakeWorker,
) -> None:
    worker = kv_worker(cpu_share_percent=10, cpu_burst_ms=100, dispatch_timeout_s=20)
    worker.load("on('messageCreate', async (c) => { for (;;) await kv.get('k') })")
    session = worker.session()

    worker.dispatch(1, "go")

    worker.until(lambda: session._held_kv)
    assert session._meters.usage(0.0)["throttled"] == 1
    before = worker.counters.kv_batches
    worker.until(lambda: worker.counters.kv_batches > before)


def test_given_stores_in_postgres_when_used_then_no_call_waits_on_the_workers_thread_and_order_is_kept(
    kv_worker: MakeWorker, tables_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[str] = set()
    fetch_one = KvConnection.fetch_one

    def noted(self: KvConnection, query: str, params: Any) -> Any:
        threads.add(threading.current_thread().name)
        return fetch_one(self, query, params)

    monkeypatch.setattr(KvConnection, "fetch_one", noted)
    worker = kv_worker({"backend": KvBackendKind.POSTGRES}, database_url=tables_url)
    worker.load(
        handler(
            "return [await kv.increment('n'), await kv.setIf('first', text, { absent: true }), await kv.get('first')]"
        )
    )

    worker.dispatch(1, "a", "b", "c")

    assert worker.hears(3) == [[1, True, "a"], [2, False, "a"], [3, False, "a"]]
    reply = worker.call(KvListStores())
    assert isinstance(reply, Ok)
    assert [info.name for info in reply.value] == ["default"]
    assert worker.notes() == []
    assert threads
    assert all(name.startswith("kv") for name in threads)
    worker.unload()
    worker.until(lambda: GUILD not in worker._kv._lanes)


def test_given_a_postgres_that_is_away_when_asked_then_the_script_is_told_to_try_again(kv_worker: MakeWorker) -> None:
    away = "postgresql://nobody@127.0.0.1:1/none"
    worker = kv_worker({"backend": KvBackendKind.POSTGRES}, database_url=away)
    worker.load(handler("return kv.get('k')"))

    worker.dispatch(1, "go")

    name, _, code = worker.hears()[0]
    assert (name, code) == ("Error", Unavailable.code)
