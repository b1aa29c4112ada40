"""Measures key-value operations from a script: a worker with one isolate, a hundred operations awaited together in each handler.

The worker is a real one in this process; what it sends to others is dropped, and events come one at a time.
"""

from __future__ import annotations

import select
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from thespian.actors import WatchMessage

from flora.actors.bridge import AsyncBridge
from flora.actors.worker import Worker
from flora.messages.base import Failed, Ok
from flora.messages.dispatch import DispatchFrame, LoadIsolate, WorkerFrame
from flora.messages.ids import GuildId, ReqId
from flora.messages.lifecycle import Peers, Start
from flora.messages.settings import KvSettings, RuntimeSettings, Settings

BATCH: Final = 100
EVENTS: Final = 100
LIMIT_S: Final = 60.0
GUILD: Final = GuildId("1")
SCRIPT: Final = f"""
const s = store('bench')
const value = 'x'.repeat(60)
const many = (one) => Promise.all(Array.from({{ length: {BATCH} }}, (_, n) => one('user:' + n)))
on('set', () => many((key) => s.set(key, value)))
on('get', () => many((key) => s.get(key)))
on('increment', () => many((key) => s.increment('n' + key)))
on('one', () => s.get('user:1'))
"""


class LoneWorker(Worker):
    """A worker without an actor system around it."""

    def __init__(self, data_dir: Path, durability: str) -> None:
        super().__init__()
        self._replies: dict[str, Ok | Failed] = {}
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._frames = 0
        self._acknowledge = 0
        runtime = RuntimeSettings(max_workers=1, cpu_share_percent=0, pin_workers=False)
        self.settings = Settings(data_dir=data_dir, runtime=runtime, kv=KvSettings(durability=durability))
        self.peers = Peers(router="router")
        self.bridge = AsyncBridge("bench")
        self._bridge_open = True
        start = Start(req_id=ReqId("start"), settings=self.settings, peers=self.peers, name="bench", worker_id=0)
        self.on_start(start)
        self._until(lambda: "start" in self._replies)

    def send(self, targetAddress: Any, msg: Any) -> None:  # noqa: N803 - the library's name
        if isinstance(msg, Ok | Failed):
            self._replies[msg.req_id] = msg
        elif isinstance(msg, WorkerFrame):
            self._acknowledge = max(self._acknowledge, msg.number)

    def after(self, delay_s: float, function: Callable[[], None]) -> int:
        self._later.append((time.monotonic() + delay_s, function))
        return 0

    def load(self, script: str) -> None:
        """Loads a script that must succeed."""
        request = LoadIsolate(req_id=ReqId("load"), guild_id=GUILD, script=script, source_map=None)
        self.receiveMessage(request, "router")
        self._until(lambda: "load" in self._replies)
        if isinstance(reply := self._replies.pop("load"), Failed):
            raise RuntimeError(reply.message)

    def run_event(self, name: str) -> float:
        """Runs an event to its end; how long it took, in seconds."""
        self._frames += 1
        done = self.counters.dispatch_total
        frame = DispatchFrame(
            number=self._frames,
            ack=self._acknowledge,
            wants_ack=False,
            epoch="router",
            seqs=(self._frames,),
            guild_ids=(GUILD,),
            names=(name,),
            payloads=("{}",),
        )
        begun = time.perf_counter()
        self.receiveMessage(frame, "router")
        self._until(lambda: self.counters.dispatch_total > done)
        return time.perf_counter() - begun

    def end(self) -> None:
        """Closes everything; the process goes on."""
        self._host.close_all(5.0)
        self._kv.end()
        self.bridge.close()
        self._local.shutdown()

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + LIMIT_S
        while not condition():
            if time.monotonic() > deadline_s:
                raise TimeoutError("the worker does not answer")
            next_s = min((at_s for at_s, _ in self._later), default=deadline_s) - time.monotonic()
            readable = select.select([self._host.fileno(), self.bridge.fd], [], [], max(0.0, next_s))[0]
            if readable:
                self.receiveMessage(WatchMessage(readable), None)
            now_s = time.monotonic()
            due = [function for at_s, function in self._later if at_s <= now_s]
            self._later = [entry for entry in self._later if entry[0] > now_s]
            for function in due:
                function()


def measure(folder: Path, durability: str = "interval", events: int = EVENTS) -> dict[str, float]:
    """Operations per second by kind, medians over events, and the time of one alone in microseconds."""
    worker = LoneWorker(folder, durability)
    try:
        worker.load(SCRIPT)
        found = {
            f"{kind}_per_s": BATCH / statistics.median(worker.run_event(kind) for _ in range(events))
            for kind in ("set", "get", "increment")
        }
        found["one_us"] = statistics.median(worker.run_event("one") for _ in range(events)) * 1e6
        if worker.counters.dispatch_errors:
            raise RuntimeError("the script failed")
        return found
    finally:
        worker.end()
