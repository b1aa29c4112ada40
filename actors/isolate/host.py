"""What the isolates of one worker process share: the engine, the scripts every isolate starts with, the limits."""

from __future__ import annotations

import random
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

from flora.actors.isolate.allowance import LOG_BURST
from flora.actors.isolate.engine import Engine, Isolate, Output, State
from flora.actors.isolate.memory_watch import Use
from flora.actors.isolate.opening import IsolateSpec
from flora.actors.sdk_files import sdk_text
from flora.actors.worker_series import WorkerSeries
from flora.messages.placement import GuildState
from flora.messages.settings import Settings

ENTROPY_BYTES = 32
MAX_LOG_LINES = 1000  # of one round trip, where there is no limit per second

Said = tuple[int, int, Output]
"""(key of the isolate, generation of its engine, what came out)"""

FETCH_NAMES = ("fetch", "Headers", "Request", "Response", "FormData", "Blob", "File")


def uses_fetch(script: str | None) -> bool:
    """Whether a script's text holds a name that sdk/dist/fetch.js defines, as a whole word.

    All others would pay 70 KB and half a millisecond for each isolate.
    """
    if script is None:
        return False
    # The name first, what stands around it after: eight megabytes take a tenth of a second, not half of one.
    return any(re.search(rf"{name}(?<!\w{name})(?!\w)", script) for name in FETCH_NAMES)


class Briefed(Protocol):
    """A session as its worker sees it without asking its actor."""

    def brief(self, now_s: float) -> tuple[GuildState, int]:
        """Its state, and µs of processor time within the last minute; what it used within this moment may be missing."""

    def usage(self, now_s: float) -> dict[str, Any]:
        """As `ReadGuildUsage` says, without the heap; with the same restriction."""


class IsolateHost:
    """Opens isolates and collects what they say. Everything on the worker's thread."""

    def __init__(self, settings: Settings, recorder_path: Path, series: WorkerSeries | None = None) -> None:
        """Makes a host without isolates. `series`: where they count; None: nobody will ask."""
        self.series = series or WorkerSeries()
        self.sessions: WeakValueDictionary[int, Briefed] = WeakValueDictionary()  # by key; each enters itself
        recorder_path.parent.mkdir(parents=True, exist_ok=True)
        self.settings = settings
        self.rng = random.Random()
        self.wall_clock = time.time  # of cron jobs; tests set their own
        self.recorder_path = recorder_path
        self._prelude = sdk_text("prelude.js")
        self._sdk = sdk_text("sdk.js")
        self._sdk_with_fetch = (
            sdk_text("fetch.js") + ";\n" + self._sdk
        )  # without the semicolon the second would be called
        self._engine = Engine(self._on_output, recorder_path=recorder_path)
        self._owners: dict[int, tuple[int, int]] = {}  # isolate number → (key, generation)
        self._opened: dict[int, Isolate] = {}  # by key; the last one
        self._said: list[Said] = []

    def brief(self, key: int, now_s: float) -> tuple[GuildState, int]:
        """State of a session's isolate, and µs of processor time within the last minute."""
        session = self.sessions.get(key)
        return (GuildState.LOADING, 0) if session is None else session.brief(now_s)

    def usage(self, key: int, now_s: float) -> dict[str, Any] | None:
        """What a session's guild uses, see `Briefed`."""
        session = self.sessions.get(key)
        return None if session is None else session.usage(now_s)

    def fileno(self) -> int:
        """Readable when `collect` has something."""
        return self._engine.fileno()

    def open(
        self,
        key: int,
        generation: int,
        guild_id: str,
        started_before: int = 0,
        *,
        fetches: bool = False,
        placeholders: Mapping[str, str] | None = None,
    ) -> Isolate:
        """Begins to make an isolate; `Opened` or a `Fault` is said under this key and generation.

        `fetches`: with `fetch` and what belongs to it, see `uses_fetch`. `placeholders`: what `secrets.get` answers, by name.
        """
        isolate = self._engine.open(
            IsolateSpec(
                name=guild_id,
                prelude=self._prelude,
                sdk=self._sdk_with_fetch if fetches else self._sdk,
                boot=self._boot_facts(guild_id) | ({"secrets": dict(placeholders)} if placeholders else {}),
                heap_limit_mb=self.settings.runtime.max_heap_mb,
                boot_limit_s=self.settings.runtime.boot_timeout_s or 3600.0,
                started_before=started_before,
            )
        )
        self._owners[isolate.number] = (key, generation)
        self._opened[key] = isolate
        return isolate

    def _boot_facts(self, guild_id: str) -> dict[str, Any]:
        runtime = self.settings.runtime
        return {
            "guildId": guild_id or None,
            "overlap": runtime.guild_overlap,
            "entropy": secrets.token_hex(ENTROPY_BYTES),
            "limits": {
                "maxCronJobs": runtime.max_cron_jobs,
                "maxBufferBytes": runtime.max_buffer_mb << 20,
                "maxHeapBytes": runtime.max_heap_mb << 20,
                "maxTimers": runtime.max_timers,
                "maxPendingOps": runtime.max_pending_ops,
                "maxLogLines": runtime.log_lines_per_second * LOG_BURST or MAX_LOG_LINES,
            },
        }

    def _on_output(self, isolate: Isolate, output: Output) -> None:
        key, generation = self._owners[isolate.number]
        self._said.append((key, generation, output))
        if isolate.state is State.CLOSED:
            del self._owners[isolate.number]
            if self._opened.get(key) is isolate:
                del self._opened[key]

    def memory_uses(self) -> list[Use]:
        """Every isolate that is not closed, for the memory watch."""
        return [
            Use(
                number=isolate.number,
                guild_id=isolate.spec.name,
                buffer_bytes=isolate.buffer_bytes,
                busy_since_s=isolate.busy_since if isolate.state is State.BUSY else None,
                round_trips=isolate.round_trips,
                closing=isolate.state not in (State.IDLE, State.BUSY),
            )
            for isolate in self._engine.isolates
            if isolate.state is not State.OPENING
        ]

    def is_idle(self, key: int) -> bool:
        """Whether V8 is at rest in the isolate that was opened last under this key."""
        isolate = self._opened.get(key)
        return isolate is not None and isolate.idle

    def key_of(self, number: int) -> int | None:
        """The key under which this isolate was opened."""
        owner = self._owners.get(number)
        return None if owner is None else owner[0]

    def collect(self) -> list[Said]:
        """What isolates said since the last call."""
        self._engine.collect()
        said, self._said = self._said, []
        return said

    def close_all(self, limit_s: float) -> bool:
        """Closes every isolate; False when one would not."""
        return self._engine.close_all(limit_s)
