"""Ending a run that will not end: cancel → probe → close → wedged.

Why steps: cancelling ends a loop in the called function and keeps the isolate, its globals and its other events. It
does not reach JavaScript that runs as a microtask (`while (true) await 0`), because that runs outside the call; closing
the context does. Neither ends a builtin that never checks (sorting ten million numbers): then only the process can end.

`next_step` decides, `Rescue` does. Where nothing is busy the first poll says ALIVE: the event waits for something, and
telling the prelude ["kill", seq] is enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from flora.actors.isolate.engine import Isolate, State

PROBE_S: Final = 0.25  # a cancelled call answers within a millisecond; the rest is for a loaded machine
CANCEL_AGAIN_S: Final = 0.02  # a cancel can hit the gap between two calls and be lost


class Step(Enum):
    """What to do next."""

    CANCEL = "cancel"
    WAIT = "wait"
    CLOSE = "close"


class Verdict(Enum):
    """How a rescue ended."""

    ALIVE = "alive"  # the isolate is idle again: tell the prelude to forget the event
    CLOSED = "closed"  # the isolate is gone: build it anew from the current deployment
    WEDGED = "wedged"  # not even closing helped: this worker has to be given up


@dataclass(frozen=True, slots=True)
class Situation:
    """What a rescue knows."""

    state: State
    since_start_s: float
    since_cancel_s: float | None  # None: not cancelled yet


def next_step(now: Situation) -> Step | Verdict:
    """The next rung, from the isolate's state and the time spent on it."""
    match now.state:
        case State.IDLE:
            return Verdict.ALIVE
        case State.CLOSED:
            return Verdict.CLOSED
        case State.WEDGED:
            return Verdict.WEDGED
        case State.SPENT:
            return Step.CLOSE
        case State.OPENING | State.CLOSING:
            return Step.WAIT
        case State.BUSY:
            if now.since_start_s >= PROBE_S:
                return Step.CLOSE
            if now.since_cancel_s is None or now.since_cancel_s >= CANCEL_AGAIN_S:
                return Step.CANCEL
            return Step.WAIT


class Rescue:
    """Brings one isolate back, or down. Poll it from the worker's timer and after each `collect`; it never waits.

    It is about the round trip that was under way when it began: if the owner starts the next one on its output, the
    verdict is ALIVE all the same.
    """

    def __init__(self, isolate: Isolate, now: float) -> None:
        """Args: now: time.monotonic()."""
        self.isolate = isolate
        self._started_at = now
        self._cancelled_at: float | None = None
        self._round_trip = isolate.round_trips

    def poll(self, now: float) -> Verdict | None:
        """Do what is due. Returns the verdict, or None: poll again after CANCEL_AGAIN_S."""
        if self.isolate.round_trips != self._round_trip:
            return Verdict.ALIVE
        since_cancel_s = None if self._cancelled_at is None else now - self._cancelled_at
        step = next_step(Situation(self.isolate.state, now - self._started_at, since_cancel_s))
        if step is Step.CANCEL:
            self.isolate.cancel()
            self._cancelled_at = now
        elif step is Step.CLOSE:
            self.isolate.close()
        elif isinstance(step, Verdict):
            return step
        return None
