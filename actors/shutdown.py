"""The orderly end of the system: one phase after the other, all of them within one deadline.

    intake     the gateway takes no more events, and hands over those it has
    queues     HTTP answers 503, deploys under way end, the router waits until every accepted event is done
    cron       no more ticks
    isolates   each worker gives what still runs its last `migration_timeout`, all at the same time
    calls      the gateway finishes REST calls that scripts did not wait for
    logs       the log book takes in the last lines

A phase whose actor is silent or dead is over when its time is. What is left then is killed by whoever asked for the end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from flora.messages.base import Address, Failed, Ok, Request
from flora.messages.gateway import StopIntake
from flora.messages.ids import ReqId
from flora.messages.lifecycle import Drain

log = logging.getLogger(__name__)

INTAKE_LIMIT_S = 1.0
CRON_LIMIT_S = 0.5
LOGS_LIMIT_S = 0.5
RESERVE_S = 1.5  # of a long limit; what comes after the queues needs so much
RESERVE_SHARE = 0.3  # of a short one
NEVER_LESS_S = 0.05  # a question with no time at all would be a question for ever
ANSWER_S = 0.3  # of the time for a question: what its answer may need on a busy machine
ANSWER_SHARE = 0.1  # of a short one
UNKNOWN = "unknown"

Ask = Callable[[Address, Request, Callable[[Ok | Failed], None], float], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Who is asked, and by which second of the shutdown all of them must have answered."""

    name: str
    roles: tuple[str, ...]  # names of children; "workers" stands for all of them
    until_s: float
    limit_s: float  # at most so long, however early it begins
    intake: bool = False


def phases(limit_s: float, quiesce_s: float) -> tuple[Phase, ...]:
    """The plan for an end within `limit_s`.

    Args:
        limit_s: For everything.
        quiesce_s: What isolates get for what still runs; 0: what is left.
    """
    queues_end_s = limit_s - min(RESERVE_S, RESERVE_SHARE * limit_s)
    return (
        Phase(name="intake", roles=("gateway",), until_s=queues_end_s, limit_s=INTAKE_LIMIT_S, intake=True),
        Phase(name="queues", roles=("http", "router", "deployer", "compiler"), until_s=queues_end_s, limit_s=limit_s),
        Phase(name="cron", roles=("cron",), until_s=limit_s, limit_s=CRON_LIMIT_S),
        Phase(name="isolates", roles=("workers",), until_s=limit_s, limit_s=quiesce_s or limit_s),
        Phase(name="calls", roles=("gateway",), until_s=limit_s, limit_s=limit_s),
        Phase(name="logs", roles=("log book",), until_s=limit_s, limit_s=LOGS_LIMIT_S),
    )


class Shutdown:
    """Carries the plan out. `done` is called once, with what the children answered: {"router": {"abandoned": 2}, …}.

    Of one that did not answer in time it is `UNKNOWN`.
    """

    def __init__(
        self,
        plan: Iterable[Phase],
        children: Callable[[str], list[tuple[str, Address]]],
        ask: Ask,
        done: Callable[[dict[str, Any]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            plan: As `phases` gives it.
            children: (name, address) of the running children of a role, when its phase begins.
            ask: `FloraActor.ask`: calls back exactly once, within its limit.
        """
        self._plan = iter(plan)
        self._children = children
        self._ask = ask
        self._done = done
        self._clock = clock
        self._began_s = clock()
        self._said: dict[str, Any] = {}

    def begin(self) -> None:
        """Starts the first phase; each starts the next when all have answered."""
        phase = next(self._plan, None)
        if phase is None:
            self._done(self._said)
            return
        asked = [child for role in phase.roles for child in self._children(role)]
        limit_s = max(NEVER_LESS_S, min(phase.limit_s, self._began_s + phase.until_s - self._clock()))
        log.info("stopping: %s", phase.name)
        missing = len(asked)

        def answered(name: str, reply: Ok | Failed) -> None:
            nonlocal missing
            missing -= 1
            self._note(phase, name, reply)
            if missing == 0:
                self.begin()

        for name, address in asked:
            request = _request(phase, limit_s)
            self._ask(address, request, lambda reply, name=name: answered(name, reply), limit_s)  # type: ignore[misc]
        if not asked:
            self.begin()

    def _note(self, phase: Phase, name: str, reply: Ok | Failed) -> None:
        if isinstance(reply, Failed):
            log.warning(
                "%s did not finish: %s", name, reply.message, extra={"action": "stop_late", "phase": phase.name}
            )
            self._said[name] = UNKNOWN
        elif not phase.intake:
            self._said[name] = reply.value


def _request(phase: Phase, limit_s: float) -> Request:
    if phase.intake:
        return StopIntake(req_id=ReqId(""))
    # A little less than we wait ourselves: what had to be abandoned is told rather than guessed.
    return Drain(req_id=ReqId(""), limit_s=max(0.0, limit_s - max(NEVER_LESS_S, min(ANSWER_S, ANSWER_SHARE * limit_s))))
