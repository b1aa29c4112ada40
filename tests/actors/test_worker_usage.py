"""Which guilds of a worker are asked what they use."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from flora.actors.worker_usage import GuildUsage
from flora.messages.isolate import IsolateUsage, ReadUsage
from flora.messages.placement import GuildState

BRIEFS = {
    1: (GuildState.SERVING, 900),
    2: (GuildState.THROTTLED, 10),
    3: (GuildState.SERVING, 950),
    4: (GuildState.RESTING, 0),
    5: (GuildState.SERVING, 5),
}


class Worker:
    """Residents whose isolates answer when they are listened to. The first one is of no guild."""

    def __init__(self) -> None:
        self.residents = {key: SimpleNamespace(key=key, guild_id=str(key)) for key in BRIEFS}
        self.serving = {"": SimpleNamespace(key=0, guild_id="")} | {
            str(key): each for key, each in self.residents.items()
        }
        self.asked: list[int] = []
        self.of = GuildUsage(self, self, self._listen)  # type: ignore[arg-type]

    def tell(self, resident: Any, message: ReadUsage) -> None:
        assert not message.with_heap
        self.asked.append(resident.key)

    def brief(self, key: int, now_s: float) -> tuple[GuildState, int]:
        return BRIEFS[key]

    def usage(self, key: int, now_s: float) -> dict[str, int]:
        return {"cpu_us": key}

    def _listen(self) -> None:
        for key in self.asked:
            self.of.said(IsolateUsage(key=key, usage={"cpu_us": key}))


def test_given_more_guilds_than_wanted_when_notable_ones_are_told_then_nobody_is_asked():
    worker = Worker()

    found = worker.of.notable(3)

    assert worker.asked == []
    assert found["usage"] == {"2": {"cpu_us": 2}, "4": {"cpu_us": 4}, "3": {"cpu_us": 3}}
    assert found["states"] == {"2": "throttled", "4": "resting"}


def test_given_no_limit_when_all_are_told_then_each_guild_is_and_the_default_runtime_is_none():
    assert set(Worker().of.of(None, with_heap=False)) == {"1", "2", "3", "4", "5"}
