"""The cron jobs that a script has declared, as the isolate says them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flora.actors.cron_dialect import CronError
from flora.actors.cron_schedule import schedule_of
from flora.messages.cron import CronJobSpec

NO_FUTURE = "cron schedule has no future occurrences: CronScheduler time search limit exceeded."


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a job cannot be."""

    name: str
    text: str
    is_malformed: bool  # else its time is over, or never comes


class DeclaredJobs:
    """Every job of one isolate, in order. Number, names and form are seen to by the prelude; here it is what the expressions mean."""

    def __init__(self) -> None:
        self._specs: dict[str, CronJobSpec] = {}
        self.changed = False

    def clear(self) -> None:
        """A new isolate is there, which will say everything again."""
        self.changed = self.changed or bool(self._specs)
        self._specs.clear()

    def all(self) -> tuple[CronJobSpec, ...]:
        """For the worker."""
        return tuple(self._specs.values())

    def declare(self, rows: Iterable[list[Any]], now_s: float) -> list[Problem]:
        """Takes in what the prelude says, see `c` in sdk/PROTOCOL.md; returns what is wrong with it. now_s: since the epoch."""
        problems: list[Problem] = []
        for name, expression, skip, catch_up in rows:
            try:
                due_s = schedule_of(expression).next_after(now_s)
            except CronError as exc:
                why = f"invalid cron expression '{expression}': {exc}"
                problems.append(Problem(name, why, is_malformed=True))
                continue
            if due_s is None:
                problems.append(Problem(name, NO_FUTURE, is_malformed=False))
                continue
            self._specs[name] = CronJobSpec(name=name, expression=expression, skip_if_running=skip, catch_up=catch_up)
            self.changed = True
        return problems
