"""Twenty healthy guilds beside an attacker: steady traffic through them, what came of each message, and how long it took."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

GUILDS = 20
RATE_PER_S = 100
QUIET_S = 1.0
QUIET_IS_FRESH_S = 12.0
REPLIES_WITHIN_S = 15.0
ECHO = "on('messageCreate', async (msg) => { if (!msg.author.bot) await msg.reply(msg.content) })"
DIED_RUNNING = "the worker died while messageCreate was running"


@dataclass(slots=True)
class Traffic:
    """Messages to the healthy guilds over some seconds. The fields are filled when the block ends."""

    marks: dict[str, str] = field(default_factory=dict)  # guild id → the last message before
    since_ms: int = 0
    sent: int = 0
    unanswered: dict[str, list[str]] = field(default_factory=dict)  # guild id → texts without a reply
    doubled: list[str] = field(default_factory=list)
    median_ms: float = 0.0


class Neighbours:
    """The healthy guilds of one flora, which has one worker for all."""

    def __init__(self, flora: Any) -> None:
        self.flora = flora
        self.guilds = flora.new_guilds([None] * GUILDS)
        for guild in self.guilds:
            guild.deploy(ECHO)
        self._channels = [guild.channel_id for guild in self.guilds]
        self._quiet_ms = 0.0
        self._quiet_at_s = -QUIET_IS_FRESH_S
        with self.traffic(QUIET_S):
            pass  # the first events of an isolate are slower than all others

    def quiet_ms(self, *, fresh: bool = False) -> float:
        """Median time from message to reply while nobody attacks.

        Args:
            fresh: Measure now; else a measurement of the last moments will do.
        """
        if fresh or time.monotonic() - self._quiet_at_s > QUIET_IS_FRESH_S:
            with self.traffic(QUIET_S) as traffic:
                pass
            self.none_lost(traffic)
            self._quiet_ms, self._quiet_at_s = traffic.median_ms, time.monotonic()
        return self._quiet_ms

    @contextmanager
    def traffic(self, for_s: float) -> Iterator[Traffic]:
        """Sends messages at a steady rate while the block runs; leaving it waits for the last reply."""
        traffic = Traffic(
            marks={guild.id: _last_id(guild) for guild in self.guilds}, since_ms=time.time_ns() // 1_000_000
        )
        traffic.sent = int(for_s * RATE_PER_S)
        asked = {
            "channels": self._channels, "count": traffic.sent, "rate": RATE_PER_S, "content": "n{i}"
        }  # fmt: skip
        self.flora.sim("DELETE", "/sim/stats")
        with ThreadPoolExecutor(1) as pool:
            sending: Future[Any] = pool.submit(self.flora.sim, "POST", "/sim/burst", asked)
            yield traffic
            sending.result()
        self._await_replies(traffic)
        latency = self.flora.sim("GET", "/sim/stats")["reply_latency_ms"]
        traffic.median_ms = latency["p50"] or float("inf")

    def _await_replies(self, traffic: Traffic) -> None:
        """Until everything is answered, or nothing has come for a while."""
        deadline = time.monotonic() + REPLIES_WITHIN_S
        while True:
            for guild in self.guilds:
                self._look_at(guild, traffic)
            missing = sum(map(len, traffic.unanswered.values()))
            if not missing or missing <= self._told_as_died(traffic) or time.monotonic() > deadline:
                return
            time.sleep(0.05)

    def _look_at(self, guild: Any, traffic: Traffic) -> None:
        messages = guild.messages(traffic.marks[guild.id])
        replies = Counter((m.get("message_reference") or {}).get("message_id") for m in messages if m["author"]["bot"])
        asked = {m["id"]: m["content"] for m in messages if not m["author"]["bot"]}
        traffic.unanswered[guild.id] = [text for message_id, text in asked.items() if not replies[message_id]]
        traffic.doubled = [f"{asked[i]} in {guild.id}" for i in asked if replies[i] > 1] or traffic.doubled

    def _told_as_died(self, traffic: Traffic) -> int:
        return sum(len(lines_since(g, traffic.since_ms, DIED_RUNNING)) for g in self.guilds if traffic.unanswered[g.id])

    def none_lost(self, traffic: Traffic, *, worker_died: bool = False) -> None:
        """Every message was answered exactly once, and no neighbour's author was told of a failure.

        Args:
            traffic: What was sent.
            worker_died: What had started when the worker died may be missing, if the guild's log says so, once for each.
        """
        assert not traffic.doubled, f"answered twice: {traffic.doubled}"
        for guild in self.guilds:
            missing = traffic.unanswered[guild.id]
            told = lines_since(guild, traffic.since_ms, "failed|dropped|ended|died")
            if not worker_died:
                assert not missing, f"guild {guild.id} never answered {missing}"
                assert not told, f"guild {guild.id} was told: {told}"
            assert len(missing) <= len([line for line in told if DIED_RUNNING in line]), (
                f"{guild.id}: {missing}, {told}"
            )


def lines_since(guild: Any, since_ms: int, pattern: str) -> list[str]:
    """Lines of a guild's log from a moment on in which a pattern is found."""
    new = (line["message"] for line in guild.logs() if line["timestamp"] >= since_ms)
    return [text for text in new if re.search(pattern, text)]


def _last_id(guild: Any) -> str:
    """Id of the newest message; a new one is greater."""
    found = guild.flora.sim("GET", f"/sim/channels/{guild.channel_id}/messages?limit=1")
    return str(found[-1]["id"]) if found else "0"
