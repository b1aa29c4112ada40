"""The gateway's side of the workers: REST calls of scripts come in, their results go back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from flora.actors.base import FloraActor
from flora.actors.discord.rest import RestExecutor, Result
from flora.actors.link import WINDOW, Link
from flora.messages.base import Address
from flora.messages.gateway import CallTiming, RestFrame, RestResultsFrame

BUSY_CALLS = 64
"""So many REST calls unfinished are a queue: a result that waits a little for others is no later for that."""
HOLD_S_PER_CALL, MAX_HOLD_S = 0.000_125, 0.02


def hold_s(unfinished: int) -> float:
    """How long a result waits for company, in seconds; 0: not at all."""
    return min(MAX_HOLD_S, unfinished * HOLD_S_PER_CALL) if unfinished >= BUSY_CALLS else 0.0


class ResultsWaiting:
    """Posted by the loop: REST calls have ended."""


RESULTS_WAITING = ResultsWaiting()


@dataclass(frozen=True, slots=True)
class _WorkerEnd:
    address: Address
    link: Link[Result]
    timings: list[CallTiming] = field(default_factory=list)  # that have not been told


class WorkerCalls:
    """One link per life of a worker. `shell` is the gateway; on its thread, but for what says otherwise."""

    def __init__(self, shell: FloraActor, executor: Callable[[], RestExecutor]) -> None:
        """
        Args:
            executor: Gives who runs the calls; it lives on the loop.
        """
        self._shell = shell
        self._executor = executor
        self._workers: dict[str, _WorkerEnd] = {}
        self._results: deque[tuple[str, Result]] = deque()
        self._timings: deque[tuple[str, CallTiming]] = deque()
        self._posted = False

    def receive(self, msg: RestFrame, sender: Address) -> None:
        """Has a frame's calls made, once."""
        origin = f"{sender}/{msg.epoch}"
        end = self._workers.get(origin)
        if end is None:
            for old in [old for old, other in self._workers.items() if other.address == sender]:
                self._forget(old)
            end = self._workers[origin] = _WorkerEnd(sender, Link(self._shell.incarnation, window=WINDOW))
        for frame in end.link.receive(msg):
            self._shell.bridge.call(self._take, origin, frame)

    def _take(self, origin: str, msg: RestFrame) -> None:
        """On the loop."""
        if msg.cancelled:
            self._executor().cancel(origin, msg.cancelled)
        if msg.traced:
            self._executor().follow(origin, msg.traced)
        self._executor().submit(origin, msg.calls)

    def gone(self, addresses: set[str]) -> None:
        """Workers that died: nobody waits for their calls any more."""
        for origin in [origin for origin, end in self._workers.items() if str(end.address) in addresses]:
            self._forget(origin)

    def _forget(self, origin: str) -> None:
        del self._workers[origin]
        self._shell.bridge.call(self._executor().cancel_origin, origin)

    def result_arrived(self, origin: str, result: Result) -> None:
        """A call has ended. On the loop."""
        self._results.append((origin, result))
        if not self._posted:
            self._posted = True
            bridge = self._shell.bridge
            wait_s = hold_s(self._executor().unfinished)
            if wait_s:
                bridge.loop.call_later(wait_s, bridge.post, RESULTS_WAITING)
            else:
                bridge.post(RESULTS_WAITING)

    def timed(self, origin: str, timing: CallTiming) -> None:
        """Where the time of a call went whose result follows. On the loop."""
        self._timings.append((origin, timing))

    def results_are_due(self) -> None:
        """Takes the results there are; `flush` sends them."""
        self._posted = False  # first: a result that ends from here on posts again
        while self._timings:
            origin, timing = self._timings.popleft()
            end = self._workers.get(origin)
            if end is not None:
                end.timings.append(timing)
        while self._results:
            origin, result = self._results.popleft()
            end = self._workers.get(origin)
            if end is not None:
                end.link.offer(result)

    def flush(self) -> None:
        """Sends what the links have to say; results that will be due in a moment take the acknowledgements with them."""
        if self._posted:
            return
        for end in self._workers.values():
            while (batch := end.link.poll()) is not None:
                frame = RestResultsFrame(
                    number=batch.number,
                    ack=batch.ack,
                    after=batch.after,
                    wants_ack=batch.wants_ack,
                    epoch=self._shell.incarnation,
                    results=tuple(batch.rows),
                    timings=tuple(end.timings),
                )
                end.timings.clear()
                self._shell.send(end.address, frame)
