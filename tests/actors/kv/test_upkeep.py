"""Sweeping and compacting from the worker's clock, over real files."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flora.actors.kv.lane import Lane
from flora.actors.kv.upkeep import BUDGET_S, Rounds
from flora.messages.ids import GuildId
from flora.messages.kv import KvValue
from flora.storage.kv import KvFiles, KvLimits
from flora.storage.ports import KvGuild

BIG = KvValue("x" * 100_000)


class Desk:
    """Stands around lanes: opens real files; helpers and timers run when the test says so."""

    is_threaded = False

    def __init__(self, root: Path) -> None:
        self.files = KvFiles(root, limits=KvLimits(writes_per_minute=0))
        self.later: list[Callable[[], None]] = []

    def open_guild(self, guild_id: GuildId) -> KvGuild:
        return self.files.open_guild(guild_id)

    def beside(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        then(work())

    def after(self, delay_s: float, function: Callable[[], None]) -> object:
        self.later.append(function)
        return None

    def soon(self, function: Callable[[], None]) -> None:
        function()

    def now_s(self) -> float:
        return time.monotonic()

    def worked(self, lane: Lane) -> None:
        """Nobody keeps an index here."""

    def lane(self, guild_id: str) -> Lane:
        lane = Lane(GuildId(guild_id), self)
        lane.guild = self.open_guild(lane.guild_id)
        return lane

    def run_timers(self) -> int:
        later, self.later = self.later, []
        for function in later:
            function()
        return len(later)


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    made = Desk(tmp_path)
    yield made
    made.files.close()


def test_given_expired_entries_in_many_guilds_when_a_second_passes_then_all_are_swept(desk: Desk) -> None:
    lanes = [desk.lane(str(number)) for number in range(5)]
    for lane in lanes:
        assert lane.guild is not None
        for number in range(1_000):
            lane.guild.set("s", f"k{number}", KvValue("v"), ttl_s=-1)
    rounds = Rounds(lambda: lanes, desk.after, is_threaded=False)

    rounds.begin()
    while desk.run_timers():
        pass

    assert [lane.guild.sweep() for lane in lanes if lane.guild is not None] == [0] * 5


def test_given_a_file_that_is_mostly_garbage_when_seconds_pass_then_it_is_compacted_in_short_steps(
    desk: Desk, tmp_path: Path
) -> None:
    lane = desk.lane("1")
    assert lane.guild is not None
    for _ in range(200):
        lane.guild.set("s", "k", BIG)
    data = next(tmp_path.glob("*/*/data"))
    before_bytes = data.stat().st_size
    rounds = Rounds(lambda: (lane,), desk.after, is_threaded=False)
    steps: list[float] = []

    deadline_s = time.monotonic() + 10
    while not desk.files.figures()[2]:
        assert time.monotonic() < deadline_s
        begun_s = time.thread_time()
        if not desk.run_timers():
            rounds.begin()
        steps.append(time.thread_time() - begun_s)

    assert data.stat().st_size < before_bytes / 50
    assert len(steps) > 3
    assert sorted(steps)[len(steps) // 2] < 10 * BUDGET_S
    assert lane.guild.get("s", "k") is not None


def test_given_a_guild_that_is_closed_or_at_work_when_a_second_passes_then_it_is_left_alone(desk: Desk) -> None:
    closed, busy = Lane(GuildId("2"), desk), desk.lane("1")
    busy._is_busy = True
    rounds = Rounds(lambda: (closed, busy), desk.after, is_threaded=False)

    rounds.begin()

    assert desk.run_timers() == 0
    assert closed.guild is None
    assert len(busy) == 0
