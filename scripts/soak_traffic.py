"""Steady numbered messages to all guilds of a flora, and what came of each: the traffic of soaks and of the benchmark of moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from flora.scripts.bench_processes import BenchFailed
from flora.scripts.bench_systems import Discord, Flora
from flora.scripts.soak_ledger import MAX_BURST, GuildLedger, number_of

OPERATOR_SECRET: Final = "soak" * 8
OPERATOR: Final = {"Authorization": f"Bearer {OPERATOR_SECRET}"}
BURST_S: Final = 5.0  # of traffic per request to the simulator
SETTLE_POLL_S: Final = 0.25  # each look reads all new messages
LAST_REPLIES_LIMIT_S: Final = 15.0  # without any reply
DISCORD_EPOCH_MS: Final = 1_420_070_400_000


class Traffic:
    """What was sent to each guild and what its script made of it. `send` and `collect` may run on threads of their own."""

    def __init__(self, discord: Discord, flora: Flora, rate_per_s: int) -> None:
        self._discord = discord
        self._flora = flora
        self._rate_per_s = rate_per_s
        self.ledgers = {guild_id: GuildLedger() for guild_id in discord.guilds}
        self.shed = 0.0
        self._shed_by_this_router = 0.0
        self._newest = dict.fromkeys(discord.guilds, "0")  # last message seen
        self._newest_line = dict.fromkeys(discord.guilds, 0)
        self._collecting = threading.Lock()
        self._began_s, self._began_unix_s = time.monotonic(), time.time()
        self._bursts = 0

    def begin(self) -> None:
        """Second 0 is now."""
        self._began_s, self._began_unix_s = time.monotonic(), time.time()

    def now_s(self) -> float:
        """Second of the run."""
        return time.monotonic() - self._began_s

    # Sending

    def send(self, seconds: float, over: Callable[[], bool], burst_s: float = BURST_S) -> None:
        """Sends at a steady rate, until a second of the run or until it is over; a burst that has begun is sent whole."""
        while (left_s := seconds - self.now_s()) > 0 and not over():
            count = max(1, min(MAX_BURST, int(min(burst_s, left_s) * self._rate_per_s)))
            content = f"{self._bursts}-{{i}}"
            wanted = {"channels": self._discord.channels, "count": count, "rate": self._rate_per_s, "content": content}
            self._discord.call("POST", "/sim/burst", wanted)
            self._bursts += 1

    def await_last_replies(self) -> None:
        """Until nothing is unanswered that the logs do not account for, or nothing more is to be hoped for."""
        answered, since_s = -1, time.monotonic()
        while time.monotonic() - since_s < LAST_REPLIES_LIMIT_S:
            self.collect()
            self.count_shed()
            if sum(len(ledger.unaccounted) for ledger in self.ledgers.values()) <= self.shed:
                return
            now = sum(len(ledger.replies) for ledger in self.ledgers.values())
            if now > answered:
                answered, since_s = now, time.monotonic()
            time.sleep(SETTLE_POLL_S)

    # Collecting

    def collect(self) -> None:
        """Everything that was said or logged since."""
        self.collect_messages()
        self.collect_logs()

    def collect_messages(self) -> None:
        """Messages of people and bots since. The simulator keeps the last 1,000 of a channel.

        Raises:
            BenchFailed: it had forgotten some.
        """
        with self._collecting:
            self._collect_new_messages()

    def collect_logs(self) -> None:
        """Lines of the guilds' logs since; nothing while they cannot be had."""
        with self._collecting:
            self._collect_new_lines()

    def count_shed(self) -> None:
        """Events that were refused. A router that was killed counts anew."""
        with suppress(OSError):
            found = self._flora.api("/metrics/json", OPERATOR)["events_shed"]
            self.shed += found - self._shed_by_this_router if found >= self._shed_by_this_router else found
            self._shed_by_this_router = found

    def sent_so_far(self) -> dict[str, int]:
        """The newest number of each guild."""
        self.collect_messages()
        return {guild_id: max(ledger.sent, default=-1) for guild_id, ledger in self.ledgers.items()}

    def has_answered(self, sent: Mapping[str, int]) -> bool:
        """Whether each guild has answered an event that is newer than those."""
        self.collect_messages()
        return all(self.ledgers[guild_id].newest_answered > number for guild_id, number in sent.items())

    def _collect_new_messages(self) -> None:
        for guild_id, channel_id in zip(self._discord.guilds, self._discord.channels, strict=True):
            path = f"/sim/channels/{channel_id}/messages?limit=1000&after={self._newest[guild_id]}"
            found = self._discord.call("GET", path)
            if len(found) == 1000:
                raise BenchFailed(
                    "the simulator had forgotten messages before they were read: too fast for this machine"
                )
            for message in found:
                self._note(self.ledgers[guild_id], message)
            if found:
                self._newest[guild_id] = found[-1]["id"]

    def _note(self, ledger: GuildLedger, message: Mapping[str, Any]) -> None:
        if message["author"]["bot"]:
            ledger.note_reply(message["content"])
            return
        at_unix_s = ((int(message["id"]) >> 22) + DISCORD_EPOCH_MS) / 1000
        ledger.sent[number_of(message["content"])] = at_unix_s - self._began_unix_s

    def _collect_new_lines(self) -> None:
        for guild_id, ledger in self.ledgers.items():
            with suppress(OSError):
                for line in self._flora.api(f"/logs/{guild_id}?limit=1000"):
                    if line["id"] > self._newest_line[guild_id]:
                        self._newest_line[guild_id] = line["id"]
                        ledger.note_log(line["message"])
