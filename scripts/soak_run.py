"""One soak: steady numbered traffic through a whole flora while its processes are killed, and everything written down."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from flora.scripts.bench_processes import BenchFailed, Sandbox, memory_mb
from flora.scripts.bench_systems import Discord, Flora
from flora.scripts.soak_kills import PARTS, Killer
from flora.scripts.soak_ledger import MAX_BURST, SCRIPT, GuildLedger, Kill, growth_mb, number_of, problems

OPERATOR_SECRET: Final = "soak" * 8
BURST_S: Final = 5.0  # of traffic per request to the simulator
COLLECT_EVERY_S: Final = 2.0  # the simulator keeps the last 1,000 messages of a channel
POLL_S: Final = 0.05
SETTLE_POLL_S: Final = 0.25  # each look reads all new messages
BACK_LIMIT_S: Final = 20.0
QUIET_END_S: Final = 2.0  # without kills, so that the last one is answered for by events after it
SETTLE_LIMIT_S: Final = 30.0
LAST_REPLIES_LIMIT_S: Final = 15.0  # without any reply
ORPHAN_LIMIT_S: Final = 2.0
WARM_UP_SHARE: Final = 0.3  # of the run, in which V8's heaps and the pools fill
MEMORY_JUDGED_AFTER_S: Final = 60.0  # of samples; before, a restarted worker that fills up again looks like a leak
MAX_GROWTH: Final = 0.15  # of the mean, over what follows the warm-up; garbage comes and goes by less
MAX_GROWTH_MB: Final = 60.0  # the same for a small system
DISCORD_EPOCH_MS: Final = 1_420_070_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a soak does."""

    seconds: float = 300.0
    rate_per_s: int = 500
    guilds: int = 40
    parts: tuple[str, ...] = PARTS
    seed: int = 1
    workers: int = 2


class Soak:
    """Runs one plan; `run` gives the report."""

    def __init__(self, plan: Plan, sandbox: Sandbox, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._say = say
        self._discord = Discord(sandbox)
        self._discord.grow(plan.guilds)
        # On a busy machine replies take long; that events end at their limit is not what is tried here.
        environ = {"API_OPERATOR_SECRET": OPERATOR_SECRET, "RUNTIME_DISPATCH_TIMEOUT_SECS": "30"}
        self._flora = Flora(sandbox, self._discord, plan.workers, script=SCRIPT, environ=environ)
        self._flora.serve(self._discord.guilds)
        self._ledgers = {guild_id: GuildLedger() for guild_id in self._discord.guilds}
        self._newest = dict.fromkeys(self._discord.guilds, "0")  # last message seen
        self._newest_line = dict.fromkeys(self._discord.guilds, 0)
        self._kills: list[Kill] = []
        self._memory: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._collecting = threading.Lock()
        self._shed, self._shed_by_this_router = 0.0, 0.0

    def run(self) -> dict[str, Any]:
        """Traffic and kills until the time is over; then the last replies, the end, and the report."""
        self._began_s, self._began_unix_s = time.monotonic(), time.time()
        with ThreadPoolExecutor(2) as pool:
            try:
                sending, collecting = pool.submit(self._send), pool.submit(self._watch)
                self._kill_until_the_end()
                self._say("waiting for the last replies …")
                sending.result()
                self._await_last_replies()
            finally:
                self._over.set()
            collecting.result()
        self._collect()
        return self._report(self._end())

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s

    # Traffic

    def _send(self) -> None:
        burst = 0
        while (left_s := self._plan.seconds - self._now_s()) > 0 and not self._over.is_set():
            count = min(MAX_BURST, int(min(BURST_S, left_s) * self._plan.rate_per_s))
            self._discord.call(
                "POST",
                "/sim/burst",
                {
                    "channels": self._discord.channels,
                    "count": count,
                    "rate": self._plan.rate_per_s,
                    "content": f"{burst}-{{i}}",
                },
            )
            burst += 1

    def _await_last_replies(self) -> None:
        """Until nothing is unanswered that the logs do not account for, or nothing more is to be hoped for."""
        answered, since_s = -1, time.monotonic()
        while time.monotonic() - since_s < LAST_REPLIES_LIMIT_S:
            self._collect()
            self._count_shed()
            if sum(len(ledger.unaccounted) for ledger in self._ledgers.values()) <= self._shed:
                return
            now = sum(len(ledger.replies) for ledger in self._ledgers.values())
            if now > answered:
                answered, since_s = now, time.monotonic()
            time.sleep(SETTLE_POLL_S)

    # Watching

    def _watch(self) -> None:
        """Collects what was said and how much memory is used, until the end."""
        while not self._over.wait(COLLECT_EVERY_S):
            self._collect_messages()
            self._memory.append((self._now_s(), sum(memory_mb(self._flora.pids()).values())))
            self._count_shed()

    def _count_shed(self) -> None:
        """Events that were refused. A router that was killed counts anew."""
        with suppress(OSError):
            found = self._flora.api("/metrics/json", {"Authorization": f"Bearer {OPERATOR_SECRET}"})["events_shed"]
            self._shed += found - self._shed_by_this_router if found >= self._shed_by_this_router else found
            self._shed_by_this_router = found

    def _collect(self) -> None:
        self._collect_messages()
        self._collect_logs()

    def _collect_messages(self) -> None:
        with self._collecting:
            self._collect_new_messages()

    def _collect_new_messages(self) -> None:
        for guild_id, channel_id in zip(self._discord.guilds, self._discord.channels, strict=True):
            path = f"/sim/channels/{channel_id}/messages?limit=1000&after={self._newest[guild_id]}"
            found = self._discord.call("GET", path)
            if len(found) == 1000:
                raise BenchFailed(
                    "the simulator had forgotten messages before they were read: too fast for this machine"
                )
            for message in found:
                self._note(self._ledgers[guild_id], message)
            if found:
                self._newest[guild_id] = found[-1]["id"]

    def _note(self, ledger: GuildLedger, message: Mapping[str, Any]) -> None:
        if message["author"]["bot"]:
            ledger.note_reply(message["content"])
            return
        at_unix_s = ((int(message["id"]) >> 22) + DISCORD_EPOCH_MS) / 1000
        ledger.sent[number_of(message["content"])] = at_unix_s - self._began_unix_s

    def _collect_logs(self) -> None:
        with self._collecting:
            self._collect_new_lines()

    def _collect_new_lines(self) -> None:
        for guild_id, ledger in self._ledgers.items():
            with suppress(OSError):
                for line in self._flora.api(f"/logs/{guild_id}?limit=1000"):
                    if line["id"] > self._newest_line[guild_id]:
                        self._newest_line[guild_id] = line["id"]
                        ledger.note_log(line["message"])

    # Killing

    def _kill_until_the_end(self) -> None:
        killer = Killer(self._plan.parts, self._plan.seed)
        while (left_s := self._plan.seconds - QUIET_END_S - self._now_s()) > 0:
            time.sleep(min(left_s, killer.pause_s()))
            chosen = killer.choose(dict(sorted(self._flora.pids().items())), self._now_s())
            if chosen is not None:
                self._kill(*chosen)

    def _kill(self, pid: int, title: str) -> None:
        if title == "log book":
            self._collect_logs()  # it keeps them in memory
        before = set(self._flora.pids())
        kill = Kill(part=title, at_s=self._now_s())
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        back_s = self._wait(lambda: self._is_back(title, before), BACK_LIMIT_S)
        kill = replace(kill, back_s=back_s)
        if back_s is not None:
            sent = self._sent_so_far()
            settled_s = self._wait(lambda: self._has_settled(sent), SETTLE_LIMIT_S, SETTLE_POLL_S)
            kill = replace(kill, settled_s=None if settled_s is None else back_s + settled_s)
        self._kills.append(kill)
        self._say(
            f"{kill.at_s:6.1f} s  {title:10} {_shown(kill.back_s)} until it was back, {_shown(kill.settled_s)} until all was well"
        )

    @staticmethod
    def _wait(condition: Callable[[], bool], limit_s: float, poll_s: float = POLL_S) -> float | None:
        began_s = time.monotonic()
        while time.monotonic() - began_s < limit_s:
            if condition():
                return time.monotonic() - began_s
            time.sleep(poll_s)
        return None

    def _is_back(self, title: str, before: set[int]) -> bool:
        return any(name == title and pid not in before for pid, name in self._flora.pids().items())

    def _has_settled(self, sent: Mapping[str, int]) -> bool:
        """Ready, and every guild has answered an event that was sent after all processes were there again."""
        try:
            ready = self._flora.api("/ready")["ready"]
        except (OSError, KeyError, ValueError):
            return False
        self._collect_messages()
        if self._now_s() > self._plan.seconds:
            return bool(ready)  # nothing more is sent; the last replies are waited for in any case
        return bool(ready) and all(
            self._ledgers[guild_id].newest_answered > number for guild_id, number in sent.items()
        )

    def _sent_so_far(self) -> dict[str, int]:
        self._collect_messages()
        return {guild_id: max(ledger.sent, default=-1) for guild_id, ledger in self._ledgers.items()}

    # The end

    def _end(self) -> dict[str, Any]:
        self._count_shed()
        stats = self._discord.call("GET", "/sim/stats")
        exit_code = self._flora.stop()
        deadline = time.monotonic() + ORPHAN_LIMIT_S
        while (orphans := self._flora.pids()) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return {"latency_ms": stats["reply_latency_ms"], "exit_code": exit_code, "orphans": orphans}

    def _report(self, end: dict[str, Any]) -> dict[str, Any]:
        warm = [sample for sample in self._memory if sample[0] >= WARM_UP_SHARE * self._plan.seconds]
        mean_mb = sum(mb for _, mb in warm) / len(warm) if warm else 0.0
        grown_mb = growth_mb(warm)
        found = problems(self._ledgers, self._kills, shed=int(self._shed))
        found += _end_problems(end)
        if len(warm) * COLLECT_EVERY_S >= MEMORY_JUDGED_AFTER_S and grown_mb > max(MAX_GROWTH_MB, MAX_GROWTH * mean_mb):
            found.append(f"memory grew by {grown_mb:.0f} MB over the last {len(warm) * COLLECT_EVERY_S:.0f} s")
        ledgers: Sequence[GuildLedger] = list(self._ledgers.values())
        return {
            "ok": not found,
            "problems": found,
            "plan": {name: getattr(self._plan, name) for name in Plan.__slots__},
            "sent": sum(len(ledger.sent) for ledger in ledgers),
            "answered": sum(len(ledger.replies) for ledger in ledgers),
            "unanswered": sum(len(ledger.unanswered) for ledger in ledgers),
            "failed": sum(ledger.failed for ledger in ledgers),
            "shed": int(self._shed),
            "reply_not_known": sum(len(ledger.unsent) for ledger in ledgers),
            "latency_ms": end["latency_ms"],
            "memory_mb": {"mean": round(mean_mb, 1), "growth": round(grown_mb, 1), "samples": len(warm)},
            "kills": [
                {"part": k.part, "at_s": round(k.at_s, 1), "back_s": k.back_s, "settled_s": k.settled_s}
                for k in self._kills
            ],
            "exit_code": end["exit_code"],
        }


def _end_problems(end: Mapping[str, Any]) -> list[str]:
    found = []
    if end["exit_code"] != 0:
        found.append(f"flora ended with {end['exit_code']}")
    if end["orphans"]:
        found.append(f"processes were left behind: {', '.join(sorted(end['orphans'].values()))}")
    return found


def _shown(duration_s: float | None) -> str:
    return "never" if duration_s is None else f"{duration_s:5.2f} s"
