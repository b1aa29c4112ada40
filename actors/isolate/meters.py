"""What one guild's isolate uses, held against what it may. Pure but for the thread's clock."""

from __future__ import annotations

from typing import Any

import orjson

from flora.actors.isolate.allowance import LogAllowance, OpAllowance
from flora.actors.isolate.cpu import CpuBudget, CpuMeter
from flora.actors.isolate.engine import Isolate
from flora.actors.isolate.outbox import OUR_TARGET, Outbox
from flora.actors.isolate.pending_ops import Answer
from flora.messages.settings import RuntimeSettings


class Meters:
    """Every account of one guild; what the author and the operator are to know goes into the outbox."""

    def __init__(self, runtime: RuntimeSettings, out: Outbox, now_s: float) -> None:
        self._runtime = runtime
        self._out = out
        self._cpu = CpuMeter()
        self._budget = CpuBudget(runtime.cpu_share_percent, runtime.cpu_burst_ms * 1000, now_s)
        self._ops = OpAllowance(runtime.max_pending_ops, runtime.ops_per_second, now_s)
        self._logs = LogAllowance(runtime.log_lines_per_second, now_s)
        self.pending_timers = 0
        self.events_done = 0
        self.holding = False  # the processor budget is used up

    def attach(self, isolate: Isolate) -> None:
        """A new isolate is there."""
        self._cpu.attach(isolate.cpu_us)
        self.pending_timers = 0

    # Processor time

    def round_trip(self, lasted_s: float, now_s: float) -> None:
        """A round trip has ended."""
        if self._cpu.round_trip(lasted_s):
            self.look(now_s)

    def look(self, now_s: float) -> None:
        """The isolate may have been busy without an end."""
        self._spend(self._cpu.look(now_s), now_s)

    def charge(self, used_us: int, now_s: float) -> None:
        """The worker has worked for the guild."""
        self._cpu.add(used_us, now_s)
        self._spend(used_us, now_s)

    def _spend(self, used_us: int, now_s: float) -> None:
        if not used_us:
            return
        self._out.count("guild_cpu_us", used_us)
        if self._budget.spend(used_us, now_s):
            self._out.count("guild_throttled")
            self._out.tell(
                "warn",
                f"processor budget used up: {self._cpu.last_minute_us(now_s) / 1e6:.1f} s within the last minute, allowed are"
                f" {self._runtime.cpu_burst_ms / 1000:g} s at once and {self._runtime.cpu_share_percent} % of a core in the"
                " long run; new events and timers wait",
            )
        self.holding = self._budget.held_since_s is not None

    def release(self, now_s: float) -> float:
        """How long the hold that is now over lasted, in seconds; 0.0: it goes on."""
        held_s = self._budget.release(now_s)
        self.holding = self._budget.held_since_s is not None
        return held_s

    # Operations, timers, log lines

    def refuse_op(self, op_id: int, pending: int, now_s: float | None) -> Answer | None:
        """The error for an operation that would be too much; now_s as in `OpAllowance.refusal`."""
        refusal = self._ops.refusal(pending, now_s)
        if refusal is None:
            return None
        self._out.count("ops_refused")
        return op_id, False, orjson.dumps(refusal.details()).decode()

    def refused(self, ops: int, timers: int) -> None:
        """The prelude refused so many."""
        self._ops.refused += ops
        self._out.count("ops_refused", ops)
        self._out.count("timers_refused", timers)

    def log(self, level: str, target: str | None, text: str, now_s: float) -> None:
        """A line for the guild's log, if there are not too many; target None: ours."""
        if self._logs.admits(now_s):
            self._out.logs.append((level, target or OUR_TARGET, text))
        else:
            self._out.count("log_lines_dropped")

    # Time

    def check(self, now_s: float) -> None:
        """Says what is due."""
        told = self._logs.told(now_s)
        if told is not None:
            self._out.tell("warn", told)

    @property
    def waits(self) -> bool:
        """Whether `check` or `release` will have something to do."""
        return self.holding or self._logs.tell_at_s is not None

    def wanted_at_s(self, timer_at_s: float | None) -> float | None:
        """When that is, or the script's timer before it; monotonic."""
        times = (self._logs.tell_at_s, self._budget.ready_at_s if self.holding else timer_at_s)
        return min((at_s for at_s in times if at_s is not None), default=None)

    def last_minute_us(self, now_s: float) -> int:
        """Processor time that is known to have been used within the last minute."""
        return self._cpu.last_minute_us(now_s)

    def usage(self, now_s: float) -> dict[str, Any]:
        """The part of ReadGuildUsage that is counted here, as it was at the last look."""
        return {
            "cpu_us": self._cpu.total_us,
            "cpu_us_last_minute": self._cpu.last_minute_us(now_s),
            "cpu_balance_us": int(self._budget.balance_us(now_s)),
            "throttled": self._budget.episodes,
            "events_done": self.events_done,
            "timers": self.pending_timers,
            "ops_refused": self._ops.refused,
            "log_lines_dropped": self._logs.dropped,
        }
