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

from flora.scripts.bench_processes import Sandbox, memory_mb
from flora.scripts.bench_systems import Discord, Flora
from flora.scripts.soak_kills import PARTS, Killer
from flora.scripts.soak_ledger import SCRIPT, GuildLedger, Kill, growth_mb, problems
from flora.scripts.soak_traffic import OPERATOR_SECRET, SETTLE_POLL_S, Traffic

COLLECT_EVERY_S: Final = 2.0  # the simulator keeps the last 1,000 messages of a channel
POLL_S: Final = 0.05
BACK_LIMIT_S: Final = 20.0
QUIET_END_S: Final = 2.0  # without kills, so that the last one is answered for by events after it
SETTLE_LIMIT_S: Final = 30.0
ORPHAN_LIMIT_S: Final = 2.0
WARM_UP_SHARE: Final = 0.3  # of the run, in which V8's heaps and the pools fill
MEMORY_JUDGED_AFTER_S: Final = 60.0  # of samples; before, a restarted worker that fills up again looks like a leak
MAX_GROWTH: Final = 0.15  # of the mean, over what follows the warm-up; garbage comes and goes by less
MAX_GROWTH_MB: Final = 60.0  # the same for a small system


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

    SCRIPT = SCRIPT

    def __init__(self, plan: Plan, sandbox: Sandbox, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._say = say
        self._discord = Discord(sandbox)
        self._discord.grow(plan.guilds)
        # On a busy machine replies take long; that events end at their limit is not what is tried here.
        environ = {"API_OPERATOR_SECRET": OPERATOR_SECRET, "RUNTIME_DISPATCH_TIMEOUT_SECS": "30"}
        self._flora = Flora(sandbox, self._discord, plan.workers, script=self.SCRIPT, environ=environ)
        self._flora.serve(self._discord.guilds)
        self._traffic = Traffic(self._discord, self._flora, plan.rate_per_s)
        self._kills: list[Kill] = []
        self._memory: list[tuple[float, float]] = []
        self._over = threading.Event()

    def run(self) -> dict[str, Any]:
        """Traffic and kills until the time is over; then the last replies, the end, and the report."""
        self._traffic.begin()
        with ThreadPoolExecutor(2) as pool:
            try:
                sending = pool.submit(self._traffic.send, self._plan.seconds, self._over.is_set)
                collecting = pool.submit(self._watch)
                self.disturb(self._plan.seconds - QUIET_END_S)
                self._say("waiting for the last replies …")
                sending.result()
                self._traffic.await_last_replies()
            finally:
                self._over.set()
            collecting.result()
        self._traffic.collect()
        return self._report(self._end())

    # Watching

    def _watch(self) -> None:
        """Collects what was said and how much memory is used, until the end."""
        while not self._over.wait(COLLECT_EVERY_S):
            self._traffic.collect_messages()
            self._memory.append((self._traffic.now_s(), sum(memory_mb(self._flora.pids()).values())))
            self._traffic.count_shed()

    # Killing

    def disturb(self, until_s: float) -> None:
        """Kills, until a second of the soak."""
        killer = Killer(self._plan.parts, self._plan.seed)
        while (left_s := until_s - self._traffic.now_s()) > 0:
            time.sleep(min(left_s, killer.pause_s()))
            chosen = killer.choose(dict(sorted(self._flora.pids().items())), self._traffic.now_s())
            if chosen is not None:
                self._kill(*chosen)

    def _kill(self, pid: int, title: str) -> None:
        if title == "log book":
            self._traffic.collect_logs()  # it keeps them in memory
        before = set(self._flora.pids())
        kill = Kill(part=title, at_s=self._traffic.now_s())
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        back_s = self._wait(lambda: self._is_back(title, before), BACK_LIMIT_S)
        kill = replace(kill, back_s=back_s)
        if back_s is not None:
            sent = self._traffic.sent_so_far()
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
        if self._traffic.now_s() > self._plan.seconds:
            return bool(ready)  # nothing more is sent; the last replies are waited for in any case
        return bool(ready) and self._traffic.has_answered(sent)

    # The end

    def report_more(self) -> dict[str, Any]:
        """More of the report; its "problems" join the others."""
        return {"problems": []}

    def _end(self) -> dict[str, Any]:
        self._traffic.count_shed()
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
        found = problems(self._traffic.ledgers, self._kills, shed=int(self._traffic.shed))
        more = self.report_more()
        found += [*more.pop("problems"), *_end_problems(end)]
        if len(warm) * COLLECT_EVERY_S >= MEMORY_JUDGED_AFTER_S and grown_mb > max(MAX_GROWTH_MB, MAX_GROWTH * mean_mb):
            found.append(f"memory grew by {grown_mb:.0f} MB over the last {len(warm) * COLLECT_EVERY_S:.0f} s")
        ledgers: Sequence[GuildLedger] = list(self._traffic.ledgers.values())
        return {
            "ok": not found,
            "problems": found,
            "plan": {name: getattr(self._plan, name) for name in Plan.__slots__},
            "sent": sum(len(ledger.sent) for ledger in ledgers),
            "answered": sum(len(ledger.replies) for ledger in ledgers),
            "unanswered": sum(len(ledger.unanswered) for ledger in ledgers),
            "failed": sum(ledger.failed for ledger in ledgers),
            "shed": int(self._traffic.shed),
            "reply_not_known": sum(len(ledger.unsent) for ledger in ledgers),
            "latency_ms": end["latency_ms"],
            "memory_mb": {"mean": round(mean_mb, 1), "growth": round(grown_mb, 1), "samples": len(warm)},
            "kills": [
                {"part": k.part, "at_s": round(k.at_s, 1), "back_s": k.back_s, "settled_s": k.settled_s}
                for k in self._kills
            ],
            "exit_code": end["exit_code"],
            **more,
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
