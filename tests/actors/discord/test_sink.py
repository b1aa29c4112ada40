from __future__ import annotations

import threading
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.actors.discord.intents import INTENT_BITS, intents_from
from flora.actors.discord.scope import Authoriser, ScopeCache
from flora.actors.discord.sink import EventSink
from flora.messages.errors import ConfigError

AUTHOR = {"id": "7", "username": "ada"}


def message(guild_id: str | None, content: str = "x") -> dict[str, Any]:
    found = {"id": "1", "channel_id": "2", "content": content, "author": AUTHOR}
    return found if guild_id is None else found | {"guild_id": guild_id}


def deletion(guild_id: str) -> dict[str, Any]:
    return {"id": "1", "channel_id": "2", "guild_id": guild_id}


def test_given_subscriptions_when_events_come_then_only_wanted_ones_are_queued_and_the_rest_counted() -> None:
    sink = EventSink(lambda: None)
    sink.subscribe([("3", ["messageCreate"]), ("4", ["messageDelete"])])

    sink.offer("messageCreate", message("3"))
    sink.offer("messageDelete", deletion("3"))
    sink.offer("messageCreate", message("4"))
    sink.offer("messageDelete", deletion("4"))
    sink.offer("messageCreate", message("5"))
    sink.offer("messageCreate", message(None))

    assert [row[:2] for row in sink.take(10)] == [("3", "messageCreate"), ("4", "messageDelete")]
    assert sink.counts == {"accepted": 2, "not_wanted": 3, "no_guild": 1}


def test_given_a_script_with_its_own_dispatcher_when_events_come_then_it_gets_them_all() -> None:
    sink = EventSink(lambda: None)
    sink.subscribe([("3", ["*"])])

    sink.offer("messageCreate", message("3"))
    sink.offer("messageDelete", deletion("3"))

    assert len(sink.take(10)) == 2


def test_given_a_new_subscription_when_it_names_a_guild_then_it_replaces_that_guilds_old_one() -> None:
    sink = EventSink(lambda: None)
    sink.subscribe([("3", ["messageCreate"]), ("4", ["messageCreate"])])
    sink.subscribe([("3", ["messageDelete"])])
    sink.offer("messageCreate", message("3"))
    sink.offer("messageDelete", deletion("3"))
    sink.subscribe([("3", [])])
    sink.offer("messageDelete", deletion("3"))
    sink.subscribe([("5", ["messageDelete"])], replaces_all=True)
    sink.offer("messageCreate", message("4"))
    sink.offer("messageDelete", deletion("5"))

    assert [row[:2] for row in sink.take(10)] == [("3", "messageDelete"), ("5", "messageDelete")]


def test_given_a_full_backlog_when_more_comes_then_messages_are_shed_first_and_order_stays() -> None:
    sink = EventSink(lambda: None, max_backlog=3, headroom=2)
    sink.subscribe([("3", ["messageCreate", "messageDelete"])])
    for number in range(5):
        sink.offer("messageCreate", message("3", str(number)))
    for _ in range(4):
        sink.offer("messageDelete", deletion("3"))

    rows = sink.take(100)

    assert [orjson.loads(row[2]).get("content") for row in rows] == ["0", "1", "2", None, None]
    assert sink.counts["shed"] == 4
    sink.offer("messageCreate", message("3"))
    assert len(sink) == 1


def test_given_waiting_events_when_taken_then_one_wake_per_round() -> None:
    wakes: list[int] = []
    sink = EventSink(lambda: wakes.append(len(sink)))
    sink.subscribe([("3", ["messageCreate"])])

    for _ in range(5):
        sink.offer("messageCreate", message("3"))
    assert len(wakes) == 1
    assert len(sink.take(2)) == 2
    sink.offer("messageCreate", message("3"))
    assert len(wakes) == 2


def test_given_a_closed_sink_when_events_come_then_they_are_shed_and_the_queued_ones_stay() -> None:
    sink = EventSink(lambda: None)
    sink.push("3", "messageCreate", message("3"))
    sink.close()
    sink.push("3", "messageCreate", message("3"))

    assert len(sink.take(10)) == 1
    assert sink.counts == {"accepted": 1, "shed": 1}


def test_given_a_malformed_dispatch_when_offered_then_it_is_counted_and_nothing_breaks() -> None:
    sink = EventSink(lambda: None)
    sink.subscribe([("3", ["messageCreate"])])
    sink.offer("messageCreate", {"guild_id": "3"})

    assert sink.counts == {"malformed": 1}


def test_given_two_threads_when_one_fills_and_one_empties_then_nothing_is_lost_or_reordered() -> None:
    total = 20_000
    woken = threading.Event()
    sink = EventSink(woken.set)
    filler = threading.Thread(
        target=lambda: [sink.push("3", "messageCreate", message("3", str(number))) for number in range(total)]
    )
    taken: list[str] = []

    filler.start()
    while len(taken) < total:
        assert woken.wait(5), f"no wake-up after {len(taken)}"
        woken.clear()
        while rows := sink.take(100):
            taken += [orjson.loads(row[2])["content"] for row in rows]
    filler.join()

    assert taken == [str(number) for number in range(total)]


@given(ids=st.lists(st.integers(1, 30), max_size=100))
def test_given_any_channels_when_learned_then_the_cache_stays_bounded_and_never_wrong(ids: list[int]) -> None:
    cache = ScopeCache(max_entries=10)
    for number in ids:
        cache.learn("channel", str(number), f"guild of {number}")

    assert len(cache) <= 10
    for number in ids:
        assert cache.owner("channel", str(number)) in {None, f"guild of {number}"}


def test_given_a_guild_create_when_learned_then_channels_and_threads_are_known_until_forgotten() -> None:
    cache = ScopeCache()
    cache.learn_guild({"id": "3", "channels": [{"id": "20"}], "threads": [{"id": "21"}]})

    async def never(path: str) -> Any:
        raise AssertionError(path)

    authoriser = Authoriser(cache, never)
    assert authoriser.known("3", (("channel", "20"), ("channel", "21"), ("guild", "3")))
    assert not authoriser.known("4", (("channel", "20"),))
    cache.forget("channel", "20")
    assert cache.owner("channel", "20") is None


@pytest.mark.parametrize(
    ("names", "value"),
    [
        (("guilds",), 1),
        (("guilds", "guild_messages", "message_content"), 1 | 1 << 9 | 1 << 15),
        (("all",), sum(1 << bit for bit in INTENT_BITS.values())),
        (("unprivileged",), sum(1 << bit for name, bit in INTENT_BITS.items() if bit not in {1, 8, 15})),
    ],
)
def test_given_intent_names_when_read_then_the_bits_are_discords(names: tuple[str, ...], value: int) -> None:
    assert intents_from(names).value == value


def test_given_an_unknown_intent_when_read_then_the_setting_is_named() -> None:
    with pytest.raises(ConfigError, match=r"discord\.intents.*'guild_mesages'"):
        intents_from(("guild_mesages",))
