"""What `bench_engine` measures, one kind per function: isolates as a worker has them, and the public way of mini-racer.

Both get the same message. A process measures once: what V8 has compiled and collected would help the next one.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
USER: Final = {"id": "880000000000000001", "username": "newcomer", "discriminator": None, "bot": False}
MESSAGE: Final = {
    "id": "1180000000000000001",
    "channelId": "1080000000000000001",
    "guildId": "980000000000000001",
    "content": "!ping",
    "author": USER,
    "member": {
        "user": USER,
        "nick": None,
        "avatar": None,
        "roles": ["1000000000000000001", "1000000000000000002"],
        "joinedAt": "2024-01-02T03:04:05.678000+00:00",
        "premiumSince": None,
        "deaf": False,
        "mute": False,
        "flags": 0,
        "pending": False,
        "permissions": None,
        "communicationDisabledUntil": None,
    },
}
HANDLERS: Final = {
    "silent": "on('messageCreate', async (ctx) => { if (ctx.msg.content === '!other') await ctx.reply('Pong!') })",
    "reply": "on('messageCreate', async (ctx) => { if (ctx.msg.content === '!ping') await ctx.reply('Pong!') })",
}
PUBLIC_WAY: Final = """
globalThis.connect = (reply) => {
  const handlers = []
  const on = (name, handler) => handlers.push(handler)
  HANDLER
  globalThis.dispatch = async (json) => {
    for (const msg of JSON.parse(json)) {
      for (const handler of handlers) await handler({ msg, reply: (text) => reply(text) })
    }
    return 'ok'
  }
}
"""
RESULT: Final = {"id": "1180000000000000002", "channelId": "1080000000000000001"}
HEAP_LIMIT_MB: Final = 64


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class _Bot:
    """Opens isolates as a worker does and hands their outputs to one function."""

    def __init__(self, flags: tuple[str, ...] = ()) -> None:
        from flora.actors.isolate import v8
        from flora.actors.isolate.engine import Engine

        v8.init_v8(v8.FLAGS + flags)
        dist = REPOSITORY / "sdk" / "dist"
        self._prelude, self._sdk = (dist / "prelude.js").read_text(), (dist / "sdk.js").read_text()
        self._folder = tempfile.TemporaryDirectory()
        self.measured: Callable[[Any, Any], None] | None = None  # takes the outputs while something is measured
        self._said: list[Any] = []
        self.engine = Engine(self._on_output, recorder_path=Path(self._folder.name) / "recorder")

    def _on_output(self, isolate: Any, output: Any) -> None:
        if self.measured is None:
            self._said.append(output)
        else:
            self.measured(isolate, output)

    def hear(self) -> Any:
        while not self._said:
            self.engine.collect(1.0)
        return self._said.pop(0)

    def open(self, number: int, script: str) -> Any:
        from flora.actors.isolate.opening import IsolateSpec

        isolate = self.engine.open(
            IsolateSpec(
                name=str(number),
                prelude=self._prelude,
                sdk=self._sdk,
                boot={"guildId": str(number), "overlap": 16},
                heap_limit_mb=HEAP_LIMIT_MB,
                boot_limit_s=30.0,
            )
        )
        self.hear()
        isolate.load(script, f"file:///guild/{number}/bundle.js")
        said = json.loads(self.hear())
        while "d" not in said:  # it registers its commands and waits for the answers
            answers = [[op[0], True, None] for op in said["o"]]
            isolate.dispatch(json.dumps({"t": time.time() * 1000, "r": answers}).encode())
            said = json.loads(self.hear())
        if said["d"][0][1] != "ok":
            raise SystemExit(f"the bot of the benchmark does not load: {said['d'][0][2]}")
        isolate.dispatch(b'{"c":[["extract"]]}')
        self.hear()
        return isolate


class _Saturation:
    """Keeps every isolate busy until so many events are done; ops are answered at once."""

    def __init__(self, isolates: list[Any], batch: int) -> None:
        import orjson

        self._loads, self._dumps = orjson.loads, orjson.dumps
        self._isolates, self._batch = isolates, batch
        self._payload = orjson.dumps(MESSAGE)
        self._seq = 0
        self._left = self._done = 0
        self._results: dict[Any, list[Any]] = {}

    def run(self, engine: Any, events: int) -> float:
        """Seconds for so many events."""
        self._done, self._left = 0, events
        begun = time.perf_counter()
        for isolate in self._isolates:
            self._next(isolate)
        while self._done < events:
            engine.collect(1.0)
        return time.perf_counter() - begun

    def on_output(self, isolate: Any, output: Any) -> None:
        said = self._loads(output)
        self._done += len(said.get("d", ()))
        results = self._results.setdefault(isolate, [])
        results += [[op[0], True, RESULT] for op in said.get("o", ())]
        if said.get("m"):
            isolate.take()
        elif results:
            self._send(isolate, b',"r":' + self._dumps(results))
            results.clear()
        elif not said.get("s") and not said.get("q"):
            self._next(isolate)

    def _next(self, isolate: Any) -> None:
        """The next batch of events; nothing when all are on their way."""
        count = min(self._batch, self._left)
        self._left -= count
        events = []
        for _ in range(count):
            self._seq += 1
            events.append(b'[%d,"messageCreate",%b]' % (self._seq, self._payload))
        if events:
            self._send(isolate, b',"e":[' + b",".join(events) + b"]")

    @staticmethod
    def _send(isolate: Any, what: bytes) -> None:
        isolate.dispatch(b'{"t":%d%b}' % (int(time.time() * 1000), what))


def measure_engine(isolates: int, batch: int, handler: str, events: int, flags: tuple[str, ...]) -> dict[str, float]:
    """µs per event through the engine."""
    bot = _Bot(flags)
    saturation = _Saturation([bot.open(number, HANDLERS[handler]) for number in range(isolates)], batch)
    bot.measured = saturation.on_output
    saturation.run(bot.engine, max(events // 5, isolates * batch))
    took_s = saturation.run(bot.engine, events)
    return {"us_per_event": took_s / events * 1e6}


def measure_public(isolates: int, batch: int, handler: str, events: int) -> dict[str, float]:
    """µs per event through `wrap_py_function` and one promise per dispatch."""
    return asyncio.run(_public(isolates, batch, handler, events))


async def _public(isolates: int, batch: int, handler: str, events: int) -> dict[str, float]:
    from py_mini_racer import mini_racer

    async def reply(text: str) -> str:
        return text

    text = json.dumps([MESSAGE] * batch)
    async with AsyncExitStack() as stack:
        dispatchers = []
        for _ in range(isolates):
            context: Any = stack.enter_context(mini_racer(asyncio.get_running_loop()))
            context.eval(PUBLIC_WAY.replace("HANDLER", HANDLERS[handler]))
            wrapped = await stack.enter_async_context(context.wrap_py_function(reply))
            context.eval("connect")(wrapped)
            dispatchers.append(context.eval("dispatch"))

        async def drive(dispatch: Any, rounds: int) -> None:
            for _ in range(rounds):
                await dispatch(text)

        rounds = max(1, events // batch // isolates)
        await asyncio.gather(*(drive(dispatch, max(1, rounds // 5)) for dispatch in dispatchers))
        begun = time.perf_counter()
        await asyncio.gather(*(drive(dispatch, rounds) for dispatch in dispatchers))
        took_s = time.perf_counter() - begun
    return {"us_per_event": took_s / (rounds * isolates * batch) * 1e6}


def _starter() -> str:
    """The bot a new guild gets. Its source uses no types, so it runs as it is written."""
    starter = json.loads((REPOSITORY / "sdk" / "dist" / "starter.json").read_text())
    return "\n".join(file["contents"] for file in starter["files"])


def measure_start(isolates: int, flags: tuple[str, ...]) -> dict[str, float]:
    """ms from nothing to a loaded starter bot, and resident MB that each idle guild adds."""
    bot = _Bot(flags)
    script = _starter()
    for number in range(3):
        bot.open(number, script)
    before, took_ms = _resident_bytes(), []
    for number in range(isolates):
        begun = time.perf_counter()
        bot.open(number, script)
        took_ms.append((time.perf_counter() - begun) * 1000)
    return {
        "start_ms": statistics.median(took_ms),
        "start_p99_ms": sorted(took_ms)[int(len(took_ms) * 0.99)],
        "mb_per_guild": (_resident_bytes() - before) / isolates / 1e6,
    }


def measure_heap(events: int, flags: tuple[str, ...]) -> dict[str, float]:
    """Heap in use after so many events, in MB: at once, and after a full collection."""
    bot = _Bot(flags)
    isolate = bot.open(1, HANDLERS["silent"])
    saturation = _Saturation([isolate], 1)
    bot.measured = saturation.on_output
    saturation.run(bot.engine, events // 10)
    isolate.collect_garbage()
    before = isolate.heap_stats()["used_heap_size"]
    took_s = saturation.run(bot.engine, events)
    raw = isolate.heap_stats()["used_heap_size"]
    isolate.collect_garbage()
    after = isolate.heap_stats()["used_heap_size"]
    return {
        "before_mb": before / 1e6,
        "uncollected_mb": raw / 1e6,
        "after_mb": after / 1e6,
        "us_per_event": took_s / events * 1e6,
    }
