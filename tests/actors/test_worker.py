"""A worker on its own, see recorded_worker.py."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, TypeVar

import pytest

from flora.actors.isolate import engine
from flora.actors.worker_isolates import WEDGE_PATIENCE_S
from flora.messages.base import Ok
from flora.messages.dispatch import Outcome, UnloadIsolate
from flora.messages.gateway import RestFrame
from flora.messages.ids import GuildId, ReqId
from flora.messages.isolate import IsolateClosed
from flora.messages.lifecycle import Peers, ReadMetrics
from flora.messages.placement import ReadGuildUsage, ReadLoad
from flora.messages.secrets import GiveSecrets, GuildSecrets, LiveSecret
from flora.messages.settings import FetchSettings, SecretsSettings

pytestmark = pytest.mark.service
T = TypeVar("T")

GUILD, OTHER = GuildId("55"), GuildId("66")
REPLIES = "on('messageCreate', async (c) => { await c.reply(c.msg.content) })"
SPINS = "on('messageCreate', async (c) => { if (c.msg.content === 'spin') while (true) await 0; await c.reply(c.msg.content) })"


def test_given_a_guild_when_asked_what_it_uses_then_the_figures_come_at_once(make_worker) -> None:
    worker = make_worker()
    worker.load(REPLIES)
    worker.load(REPLIES, OTHER)
    worker.dispatch(1, "a")
    worker.until(worker.bodies)

    one = worker.asks(ReadGuildUsage(req_id=ReqId("one"), guild_id=GUILD)).value
    everyone = worker.asks(ReadGuildUsage(req_id=ReqId("all"))).value
    nobody = worker.asks(ReadGuildUsage(req_id=ReqId("none"), guild_id=GuildId("77"))).value

    assert set(one) == {GUILD}
    assert one[GUILD]["state"] == "serving"
    assert one[GUILD]["pending_ops"] == 1
    assert one[GUILD]["heap_bytes"] > 0
    assert set(everyone) == {GUILD, OTHER}
    assert nobody == {}


def test_given_a_guild_when_asked_how_busy_it_is_then_a_worker_says_it_of_itself_and_if_wanted_of_its_guilds(
    make_worker,
) -> None:
    worker = make_worker()
    worker.load("globalThis.held = new Uint8Array(5_000_000);" + REPLIES)
    worker.dispatch(1, "a")
    worker.until(worker.bodies)

    alone = worker.asks(ReadLoad(req_id=ReqId("alone"))).value
    guilds = worker.asks(ReadLoad(req_id=ReqId("guilds"), with_guilds=True)).value

    assert alone["guilds"] == {}
    assert alone["rss_bytes"] > 1_000_000
    assert 0 < alone["cpu_us"] <= guilds["cpu_us"]
    assert 0 < alone["at_us"] <= guilds["at_us"] <= time.monotonic_ns() // 1000
    assert set(guilds["guilds"]) == {GUILD}
    cpu_us, events, memory_bytes = guilds["guilds"][GUILD]
    assert cpu_us > 0
    assert events == 0, "its reply is under way"
    assert memory_bytes >= 5_000_000


def test_given_guilds_when_asked_for_the_notable_ones_then_the_busiest_are_told(
    make_worker,
) -> None:
    worker = make_worker(dispatch_timeout_s=10)
    spins = "on('messageCreate', (c) => { const end = Date.now() + Number(c.msg.content); while (Date.now() < end); })"
    for guild in (GUILD, OTHER, "3"):
        worker.load(spins, guild)
    worker.dispatch(1, "300", guild_id=OTHER)
    worker.dispatch(2, "20", guild_id=GUILD)
    worker.until(lambda: set(worker.done()) == {1, 2})

    everything = worker.asks(ReadMetrics(req_id=ReqId("all"), notable=10)).value["guilds"]
    one = worker.asks(ReadMetrics(req_id=ReqId("one"), notable=1)).value["guilds"]
    none = worker.asks(ReadMetrics(req_id=ReqId("none"))).value

    assert set(everything["usage"]) == {GUILD, OTHER, "3"}
    assert set(one["usage"]) == {OTHER}
    assert one["usage"][OTHER]["cpu_us"] > everything["usage"]["3"]["cpu_us"]
    assert "guilds" not in none


def test_given_counted_refusals_when_asked_for_metrics_then_they_are_in_the_workers_counters(make_worker) -> None:
    worker = make_worker(log_lines_per_second=1, dispatch_timeout_s=10)
    worker.load("on('messageCreate', () => { for (let i = 0; i < 20; i++) console.log(i) })")
    worker.dispatch(1, "a", "b", "c")
    worker.until(lambda: set(worker.done()) == {1, 2, 3})

    counters = worker.asks(ReadMetrics(req_id=ReqId("metrics"))).value

    assert counters["log_lines_dropped"] > 0
    assert counters["isolates_wedged"] == counters["ops_refused"] == 0
    assert counters["dispatch_total"] == 3


@pytest.mark.scenario("T29")
def test_given_calls_that_wait_for_the_gateway_when_their_event_is_ended_then_they_never_leave(make_worker) -> None:
    worker = make_worker()
    worker.load("on('messageCreate', async (c) => { c.reply('1'); await c.reply('2') })")
    worker.peers = Peers(router="router", gateway=None)
    worker.dispatch(1, "x")
    worker.until(lambda: 1 in worker.done())
    assert worker.done() == {1: Outcome.TIMED_OUT}

    worker.peers = Peers(router="router", gateway="gateway")
    worker.dispatch(2, "x")
    worker.until(worker.bodies)
    worker.until(lambda: 2 in worker.done())

    frames = worker.got(RestFrame)
    first_event = {call[0] for call in frames[0].calls} - {3, 4}
    assert not first_event, "numbers 1 and 2 were of the event that was ended"
    assert worker.bodies() == ["1", "2"]


@pytest.mark.scenario("T29")
def test_given_calls_that_have_left_when_their_event_is_ended_then_the_gateway_is_told_at_once(make_worker) -> None:
    worker = make_worker()
    worker.load(REPLIES)
    worker.dispatch(1, "x")
    worker.until(worker.bodies)
    (call,) = worker.got(RestFrame)[0].calls

    worker.until(lambda: 1 in worker.done())
    worker.until(lambda: any(frame.cancelled for frame in worker.got(RestFrame)))

    assert [frame.cancelled for frame in worker.got(RestFrame) if frame.cancelled] == [(call[0],)]


def test_given_a_guild_that_rests_when_new_code_comes_then_what_waited_runs_in_it_in_order(make_worker) -> None:
    worker = make_worker()
    worker.load(SPINS)
    for seq in (1, 2):
        worker.dispatch(seq, "spin")
        worker.until(lambda seq=seq: seq in worker.done())
    worker.dispatch(3, "three", "four")

    worker.load("on('messageCreate', (c) => { c.reply('new ' + c.msg.content) })")
    worker.dispatch(5, "five")
    worker.until(lambda: {3, 4, 5} <= set(worker.done()))

    assert worker.bodies() == ["new three", "new four", "new five"]
    assert {worker.done()[seq] for seq in (3, 4, 5)} == {Outcome.OK}


def test_given_a_guild_that_rests_when_it_is_unloaded_then_its_events_are_reported(make_worker) -> None:
    worker = make_worker()
    worker.load(SPINS)
    for seq in (1, 2):
        worker.dispatch(seq, "spin")
        worker.until(lambda seq=seq: seq in worker.done())
    worker.dispatch(3, "three")

    worker.asks(UnloadIsolate(req_id=ReqId("unload"), guild_id=GUILD))
    worker.until(lambda: 3 in worker.done())

    assert worker.done()[3] == Outcome.DIED


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_given_an_isolate_that_does_not_end_when_its_close_hangs_then_the_guild_is_reported_until_it_ends(
    make_worker, monkeypatch
) -> None:
    monkeypatch.setattr(engine, "CLOSE_LIMIT_S", 0.1)
    worker = make_worker(dispatch_timeout_s=0.2, max_heap_mb=1024)
    worker.load(
        "const numbers = Array.from({ length: 7e5 }, Math.random);"
        "on('messageCreate', (c) => { if (c.msg.content === 'sort') numbers.sort() })"
    )
    worker.load(REPLIES, OTHER)

    worker.dispatch(1, "sort", "waits")
    worker.until(worker.wedged, within_s=20)
    worker.dispatch(3, "too late")
    worker.dispatch(9, "well", guild_id=OTHER)
    worker.until(lambda: "well" in worker.bodies())
    worker.until(lambda: (GUILD, "") in worker.wedged(), within_s=30)

    (guild_id, why), over = worker.wedged()
    assert guild_id == GUILD
    assert why == "dispatch timed out (limit 0.2 s)"
    assert over == (GUILD, "")
    assert worker.done()[1] == Outcome.TIMED_OUT
    assert not {2, 3} & set(worker.done()), "they are the router's to send again"
    assert worker.counters.isolates_wedged == 1
    assert worker.load(REPLIES).value["replaced"] is False


def test_given_an_old_isolate_that_does_not_end_when_patience_is_over_then_the_guild_leaves_this_worker(
    make_worker,
) -> None:
    worker = make_worker(dispatch_timeout_s=5)
    worker.load(SPINS)
    old = worker._isolates.serving[GUILD]
    worker.dispatch(1, "spin")
    worker.until(lambda: worker.session()._isolate.busy)
    worker.load(REPLIES)
    worker.dispatch(2, "asks")
    worker.until(lambda: worker.bodies() == ["asks"])

    worker._isolates.closed(IsolateClosed(key=old.key, wedged=True))
    patience = [function for at_s, function in worker.later if at_s > time.monotonic() + WEDGE_PATIENCE_S / 2]
    assert worker.wedged() == []
    patience[-1]()
    worker.flush()

    assert worker.wedged() == [(GUILD, "an isolate of this guild, no longer in use, does not end")]
    assert worker.done() == {2: Outcome.DIED}
    worker._isolates.closed(IsolateClosed(key=old.key))
    worker.flush()
    assert worker.wedged()[1:] == [(GUILD, "")]


def test_given_events_that_wait_in_an_isolate_when_it_is_replaced_then_the_next_one_begins_with_them_in_order(
    make_worker,
) -> None:
    worker = make_worker(dispatch_timeout_s=5, guild_overlap=4)
    worker.load("on('messageCreate', async (c) => { await c.reply(`old ${c.msg.content}`) })")
    worker.dispatch(1, *(str(number) for number in range(1, 31)))
    worker.until(lambda: len(worker.bodies()) == 4)

    worker.load("on('messageCreate', async (c) => { await c.reply(`new ${c.msg.content}`) })")
    worker.dispatch(31, "31", "32")
    while len(worker.done()) < 32:
        worker.settle_calls()
        worker.acknowledge()
        worker.pass_time(0.01)

    assert worker.bodies() == [
        *(f"old {number}" for number in range(1, 5)),
        *(f"new {number}" for number in range(5, 33)),
    ]
    assert set(worker.done().values()) == {Outcome.OK}


def test_given_an_isolate_that_holds_v8_when_it_is_replaced_then_newer_events_wait_for_what_it_has_not_begun(
    make_worker,
) -> None:
    worker = make_worker(dispatch_timeout_s=0.8, guild_overlap=1)
    worker.load(SPINS)
    worker.dispatch(1, "spin", "older")
    worker.until(lambda: worker.session()._isolate.busy)

    worker.load(REPLIES)
    worker.dispatch(3, "newer")
    worker.until(lambda: len(worker.bodies()) == 2)

    assert worker.bodies() == ["older", "newer"]
    assert worker.done()[1] in {Outcome.TIMED_OUT, Outcome.DIED}


def test_given_events_held_for_an_older_isolate_when_the_script_is_unloaded_then_they_are_reported(make_worker) -> None:
    worker = make_worker(dispatch_timeout_s=5, guild_overlap=1)
    worker.load(SPINS)
    worker.dispatch(1, "spin", "older")
    worker.until(lambda: worker.session()._isolate.busy)
    worker.load(REPLIES)
    worker.dispatch(3, "newer")

    worker.asks(UnloadIsolate(req_id=ReqId("off"), guild_id=GUILD))

    worker.until(lambda: 3 in worker.done())
    assert worker.done()[3] == Outcome.DIED
    assert worker.bodies() == []


# Secrets

VALUE = "s3cr3t-hunter2"
SENDS_ITS_KEY = """
const ask = async (url) => {
  const key = secrets.get('KEY')
  const response = await fetch(new Request(`${url}in:${key}?key=${key}`, { headers: { 'X-Key': `${key}` } }))
  return `${response.status} ${await response.text()}`
}
const early = await ask('URL')
on('messageCreate', async (c) => { await c.reply(`${early} | ${await ask('URL').catch((error) => error.message)}`) })
"""


class KeyPage(BaseHTTPRequestHandler):
    """Says who came, and keeps the keys and paths they brought."""

    keys: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.keys += [self.headers["X-Key"], self.path]
        body = f"key {self.headers['X-Key']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def key_page() -> Iterator[str]:
    KeyPage.keys.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), KeyPage) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def key_set(version: int, value: str = VALUE) -> GuildSecrets:
    holder = "__FLORA_SECRET__:6f1c8b52-1111-4111-8111-111111111111:0123456789ab"
    entry = LiveSecret(name="KEY", placeholders=(holder,), value=value, allowed_hosts=("127.0.0.1",))
    return GuildSecrets(version=version, entries=(entry,))


def test_given_secrets_when_a_script_fetches_while_it_loads_and_after_then_they_are_filled_in_and_never_reach_v8(
    make_worker, key_page, monkeypatch
) -> None:
    into_v8: list[str] = []
    dispatch, adopt = engine.Isolate.dispatch, engine.Isolate.adopt
    monkeypatch.setattr(
        engine.Isolate, "dispatch", lambda self, text: into_v8.append(text.decode()) or dispatch(self, text)
    )
    monkeypatch.setattr(
        engine.Isolate, "adopt", lambda self, parts: into_v8.append(repr(self.spec)) or adopt(self, parts)
    )
    worker = make_worker(
        fetch=FetchSettings(allow=("127.0.0.1",)), secrets=SecretsSettings(allow_http=True), dispatch_timeout_s=5
    )

    assert isinstance(worker.load(SENDS_ITS_KEY.replace("URL", key_page), secrets=key_set(1)), Ok)
    worker.dispatch(1, "?")
    worker.until(worker.bodies)
    given = worker.asks(GiveSecrets(req_id=ReqId("give"), guild_id=GUILD, secrets=key_set(2, "another-value")))
    worker.asks(GiveSecrets(req_id=ReqId("late"), guild_id=GUILD, secrets=key_set(1)))
    worker.dispatch(2, "?")
    worker.until(lambda: len(worker.bodies()) == 2)

    assert given.value is True
    values = (VALUE, VALUE, "another-value")
    assert KeyPage.keys == [brought for value in values for brought in (value, f"/in:{value}?key={value}")]
    assert all(body.count("__FLORA_SECRET__:6f1c8b52") == 2 for body in worker.bodies())
    shown = [*into_v8, *map(repr, worker.sent), *worker.bodies()]
    assert len(into_v8) > 3
    assert not [text for text in shown if VALUE in text or "another-value" in text]


def test_given_secrets_that_could_not_be_read_when_a_script_is_to_load_then_only_where_they_are_known(
    make_worker,
) -> None:
    worker = make_worker()

    refused = worker.load(REPLIES, secrets=None)
    worker.load(REPLIES, secrets=key_set(1))
    again = worker.load(REPLIES, secrets=None)
    elsewhere = worker.asks(GiveSecrets(req_id=ReqId("give"), guild_id=OTHER, secrets=key_set(2)))
    worker.asks(UnloadIsolate(req_id=ReqId("unload"), guild_id=GUILD))
    worker.until(lambda: GUILD not in worker._secrets)

    assert refused.code == "UNAVAILABLE"
    assert isinstance(again, Ok)
    assert elsewhere.value is False
    assert OTHER not in worker._secrets
