"""Measures the engine alone: µs per event, start, memory, and the same events through the public way of mini-racer.

    python -m flora.scripts.bench_engine                 everything, as a table
    python -m flora.scripts.bench_engine --json FILE     also as JSON, with machine and commit
    python -m flora.scripts.bench_engine --quick         fewer events and runs

Each figure is the median of several runs, each run a fresh process; runs of the two ways alternate, so that a busy machine
troubles both. The public way is `wrap_py_function`: the handler awaits a Python coroutine, the host awaits the promise of
each dispatch. Both ways get the same message. The handler `silent` looks at it, the handler `reply` also answers it: one
call to the host, whose result it awaits.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
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


def _one(args: argparse.Namespace) -> dict[str, float]:
    from flora.actors.isolate.cores import pin_process, usable_cores

    if args.pin and usable_cores():
        pin_process(usable_cores()[-1])
    flags = tuple(args.flag)
    match args.one:
        case "engine":
            return measure_engine(args.isolates, args.batch, args.handler, args.events, flags)
        case "public":
            return measure_public(args.isolates, args.batch, args.handler, args.events)
        case "start":
            return measure_start(args.isolates, flags)
        case _:
            return measure_heap(args.events, flags)


def _run(kind: str, *, pin: bool = True, flags: tuple[str, ...] = (), **settings: Any) -> dict[str, float]:
    """One measurement in a process of its own."""
    command = [sys.executable, "-m", "flora.scripts.bench_engine", "--one", kind, "--pin" if pin else "--no-pin"]
    for name, value in settings.items():
        command += [f"--{name}", str(value)]
    for flag in flags:
        command.append(f"--flag={flag}")
    finished = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if finished.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{finished.stderr}")
    return dict(json.loads(finished.stdout.splitlines()[-1]))


def _median(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _rows(quick: bool, flags: tuple[str, ...]) -> list[dict[str, Any]]:
    """µs per event for every size, on one core and on all; the public way beside it, one event per dispatch."""
    runs, events, public_events = (1, 8_000, 500) if quick else (3, 40_000, 1_500)
    rows = []
    for isolates in (1, 10, 100):
        sizes = [(handler, batch) for handler in HANDLERS for batch in (1, 100)]
        found: dict[Any, list[dict[str, float]]] = {}
        for run in range(runs):
            print(f"measuring {isolates} isolates, run {run + 1} of {runs} …", file=sys.stderr)
            for pin in (True, False):
                public = _run("public", pin=pin, isolates=isolates, handler="reply", events=public_events)
                found.setdefault(("public", pin), []).append(public)
                for handler, batch in sizes:
                    ours = _run(
                        "engine", pin=pin, flags=flags, events=events, isolates=isolates, handler=handler, batch=batch
                    )
                    found.setdefault((handler, batch, pin), []).append(ours)
        us = {key: _median(measured)["us_per_event"] for key, measured in found.items()}
        rows += [
            {
                "handler": handler,
                "isolates": isolates,
                "batch": batch,
                "us_one_core": us[handler, batch, True],
                "us_all_cores": us[handler, batch, False],
                "public_us_one_core": us["public", True],
                "public_us_all_cores": us["public", False],
            }
            for handler, batch in sizes
        ]
    return rows


def _machine() -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    model = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "machine": f"{model[0] if model else platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "commit": commit.stdout.strip() or None,
    }


def measure_all(quick: bool, flags: tuple[str, ...] = ()) -> dict[str, Any]:
    """Everything this script measures, as one JSON object."""
    runs = 1 if quick else 3
    result: dict[str, Any] = {**_machine(), "dispatch": _rows(quick, flags)}
    result["start"] = _median([_run("start", flags=flags, isolates=100) for _ in range(runs)])
    result["heap"] = {"events": 200_000, **_run("heap", flags=flags, events=200_000)}
    return result


def _print_table(result: dict[str, Any]) -> None:
    print(f"{result['machine']}, Python {result['python']}, commit {result['commit']}\n")
    print("µs per event; public way: wrap_py_function, the handler calls it once, one event per dispatch\n")
    print("                           ---- one core ----         ---- all cores ----")
    print("handler  isolates  batch   engine  public  factor     engine  public  factor")
    for row in result["dispatch"]:
        columns = ""
        for cores in ("one_core", "all_cores"):
            ours, public = row[f"us_{cores}"], row[f"public_us_{cores}"]
            columns += f"{ours:9.1f} {public:7.0f} {public / ours:6.0f}×   "
        print(f"{row['handler']:7} {row['isolates']:9} {row['batch']:6}{columns}")
    start, heap = result["start"], result["heap"]
    print(f"\nisolate with prelude, SDK and starter: {start['start_ms']:.1f} ms (p99 {start['start_p99_ms']:.1f} ms)")
    print(f"memory per idle guild: {start['mb_per_guild']:.2f} MB")
    print(
        f"heap around {heap['events']:,} events: {heap['before_mb']:.2f} MB before, {heap['after_mb']:.2f} MB after,"
        f" {heap['uncollected_mb']:.1f} MB before collecting; limit {HEAP_LIMIT_MB} MB"
    )


def main() -> None:
    """Entry point; `--one` is what it starts itself with for each measurement."""
    parser = argparse.ArgumentParser(description="Measure the engine.")
    parser.add_argument("--quick", action="store_true", help="fewer events and runs")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument(
        "--flag", action="append", default=[], help="one more V8 flag, for experiments: --flag=--lite-mode"
    )
    parser.add_argument("--one", choices=["engine", "public", "start", "heap"], help=argparse.SUPPRESS)
    parser.add_argument("--isolates", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--handler", choices=list(HANDLERS), default="silent", help=argparse.SUPPRESS)
    parser.add_argument("--events", type=int, default=10_000, help=argparse.SUPPRESS)
    parser.add_argument("--pin", action=argparse.BooleanOptionalAction, default=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(_one(args)), flush=True)
        os._exit(0)  # open contexts would hang the interpreter's own exit
    result = measure_all(args.quick, tuple(args.flag))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    _print_table(result)


if __name__ == "__main__":
    main()
