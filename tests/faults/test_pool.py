"""The pool of workers changes under load: nothing is lost, doubled or reordered, and nobody moves more than once per step."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from flora.scripts.ownership import problems

pytestmark = [pytest.mark.service, pytest.mark.fault, pytest.mark.timeout(60)]

SETTINGS = {"RUNTIME_MAX_WORKERS": "2", "RUNTIME_DISPATCH_TIMEOUT_SECS": "2", "RUNTIME_REBALANCE": "false"}
OPERATOR = "only-for-the-tests"
GUILDS = 6
PER_S = 200.0
WITHIN_S = 20.0
REPLIES = """
on("messageCreate", async (msg) => {
    if (!msg.author.bot) await msg.reply(`${msg.content} ${await kv.increment("seen")}`)
})
"""


class Pool:
    """A flora whose pool changes, and guilds that count what they were told."""

    def __init__(self, flora, wait_for) -> None:
        self.flora = flora
        self.wait_for = wait_for
        self.guilds = flora.new_guilds([None] * GUILDS)
        for guild in self.guilds:
            guild.deploy(REPLIES)

    def order(self, path, body=None):
        """Begins an operation; gives its number."""
        return self.flora.api("POST", f"/workers/{path}", body or {}, OPERATOR)["operation"]

    def operation(self):
        with suppress(self.flora.Refused):  # the router is being restarted
            return self.flora.api("GET", "/workers/pool", token=OPERATOR)["operation"]
        return None

    def ended(self, number):
        """Waits for the end of an operation; where the machine is busy it may be stuck for a while."""

        def look():
            found = self.operation()
            return found if found and found["number"] >= number and found["state"] == "done" else None

        ended = self.wait_for(look, WITHIN_S, f"operation {number} does not end: {self.operation()}")
        assert ended["number"] == number, ended
        return ended

    def do(self, path, body=None):
        """Begins an operation and waits for its end."""
        return self.ended(self.order(path, body))

    def workers(self):
        """Shared workers, and how many guilds each has."""
        found = self.flora.api("GET", "/workers", token=OPERATOR)
        return {facts["worker"]: facts["guilds"] for facts in found if not facts["dedicated"]}

    def load(self, count):
        """Numbered messages in all guilds in turn; gives what is asked for afterwards."""
        return Load(self, count)

    def check_whole(self):
        """Each guild is served by exactly one isolate, and no store has two owners."""
        data, ids = self.flora.folder / "data", [guild.id for guild in self.guilds]
        self.wait_for(lambda: not problems(data, ids), WITHIN_S, "not whole again")
        assert problems(data, ids) == []


class Load:
    def __init__(self, pool, count) -> None:
        self._pool, self._count = pool, count
        self._marks = {guild.id: guild.messages()[-1:] for guild in pool.guilds}
        channels = [guild.channel_id for guild in pool.guilds]
        burst = {"channels": channels, "count": count, "rate": PER_S, "content": "{i}"}
        self._sent = pool.executor.submit(pool.flora.sim, "POST", "/sim/burst", burst)

    def replied(self, guild):
        mark = self._marks[guild.id]
        return guild.said_by_bot(mark[0]["id"] if mark else "0")

    def check(self):
        """Waits for the answers: each event is answered once, per guild in order, and each found what the one before had stored."""
        self._sent.result()
        for number, guild in enumerate(self._pool.guilds):
            expected = list(range(number, self._count, GUILDS))
            self._pool.wait_for(
                lambda guild=guild, expected=expected: len(self.replied(guild)) >= len(expected),
                WITHIN_S,
                f"answers are missing in guild {guild.id}",
            )
            replies = [tuple(map(int, text.split())) for text in self.replied(guild)]
            assert [sent for sent, _ in replies] == expected
            counts = [counted for _, counted in replies]
            assert counts == list(range(counts[0], counts[0] + len(counts)))


@pytest.fixture(scope="module")
def pool(broken_flora, wait_for, refused):
    broken_flora.Refused = refused
    made = Pool(broken_flora, wait_for)
    with ThreadPoolExecutor(1) as executor:
        made.executor = executor
        yield made


@pytest.fixture(autouse=True)
def two_workers_before_and_everything_whole_after(pool):
    if list(pool.workers()) != [0, 1]:
        pool.do("scale", {"count": 2})
    yield
    pool.check_whole()


@pytest.mark.scenario("T41", "T50")
def test_given_load_when_the_pool_goes_from_two_workers_to_four_and_back_then_nothing_is_lost_and_nobody_moves_twice(
    pool,
):
    load = pool.load(300)

    up = pool.do("scale", {"count": 4})
    assert set(pool.workers()) == {0, 1, 2, 3}
    assert sum(pool.workers().values()) == GUILDS + 1
    down = pool.do("scale", {"count": 2})

    load.check()
    assert set(pool.workers()) == {0, 1}
    assert 0 < up["moved"] <= GUILDS // 2 + 1, "only so many that each worker has its share"
    moves = [move for move in pool.flora.api("GET", "/moves", token=OPERATOR) if move["state"] == "moved"]
    for ended in (up, down):
        moved = [m["guild_id"] for m in moves if ended["began_at"] <= m["at"] <= ended["ended_at"]]
        assert len(moved) == len({*moved}) == ended["moved"]


def test_given_load_when_a_worker_is_drained_and_another_recycled_then_nothing_is_lost(pool):
    load = pool.load(300)

    pool.do("1/drain")
    assert pool.workers()[1] == 0
    pool.do("1/undrain")
    before = pool.workers()
    recycled = pool.do("0/recycle")

    load.check()
    assert pool.workers() == {1: before[1], 2: before[0]}
    assert recycled["text"].startswith("worker 2 has taken over from worker 0")
    assert pool.flora.cli("workers", "drain", "1000").returncode == 1


def test_given_load_when_a_worker_is_killed_while_it_is_emptied_then_its_guilds_start_elsewhere_and_it_stays_dead(pool):
    pool.do("scale", {"count": 3})
    load = pool.load(300)
    pool.wait_for(lambda: all(load.replied(guild) for guild in pool.guilds), WITHIN_S, "no load")

    number = pool.order("scale", {"count": 2})
    with suppress(AssertionError):  # it may have been quicker than we are
        pool.flora.kill("worker 2")
    pool.ended(number)

    load._sent.result()
    assert "flora: worker 2" not in pool.flora.processes().values()
    for guild in pool.guilds:
        assert guild.ask_until_answered("7", WITHIN_S).startswith("7 ")
        sent = [int(text.split()[0]) for text in load.replied(guild) if not text.startswith("7 ")]
        assert sent == sorted({*sent}), "none is answered twice or out of order"


def test_given_load_when_the_router_is_killed_while_the_pool_shrinks_then_its_successor_goes_on(pool):
    pool.do("scale", {"count": 4})
    load = pool.load(300)

    number = pool.order("scale", {"count": 2})
    pool.wait_for(
        lambda: (operation := pool.operation()) and operation["number"] == number, WITHIN_S, "it does not begin"
    )
    pool.flora.kill("router")
    pool.ended(number)

    load.check()
    assert set(pool.workers()) == {0, 1}


def test_given_a_scale_under_way_when_another_takes_its_place_then_only_the_last_one_counts(pool):
    load = pool.load(300)

    pool.order("scale", {"count": 6})
    pool.order("scale", {"count": 1})
    last = pool.order("scale", {"count": 3})
    pool.ended(last)

    load.check()
    assert set(pool.workers()) == {0, 1, 2}
    assert sum(pool.workers().values()) == len(pool.flora.api("GET", "/guilds/status", token=OPERATOR))
