"""What goes into an isolate with its next round trip. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import orjson

from flora.actors.isolate.pending_ops import Answer
from flora.actors.isolate.runs import CRON_PREFIX, Event


class Feed:
    """Answers and controls that wait; the events come from `Runs` at the last moment."""

    def __init__(self) -> None:
        self._answers: list[str] = []
        self._controls: list[list[Any]] = []
        self._fetched = 0  # of the answers, those of fetches
        self._fetches_gone = 0

    def __bool__(self) -> bool:
        return bool(self._answers or self._controls)

    def answer(self, answer: Answer, *, fetched: bool = False) -> None:
        """An op has its result, or a fetch: those are counted, because they may be large."""
        self._fetched += fetched
        op_id, ok, text = answer
        self._answers.append(f"[{op_id},{'true' if ok else 'false'},{text}]")

    def control(self, *words: Any) -> None:
        """A control of sdk/PROTOCOL.md."""
        self._controls.append(list(words))

    def clear(self) -> None:
        """The isolate they were meant for is gone."""
        self._answers.clear()
        self._controls.clear()
        self._fetches_gone += self._fetched
        self._fetched = 0

    def take_fetches_gone(self) -> int:
        """How many answers of fetches have gone into the isolate, or with it, since the last call."""
        gone, self._fetches_gone = self._fetches_gone, 0
        return gone

    def text(self, events: Iterable[Event], now_ms: float | None) -> bytes:
        """One dispatch with everything in it; what waited is forgotten.

        Args:
            now_ms: Wall clock; None: for the script no time passes, so no timer becomes due.
        """
        parts = [] if now_ms is None else [f'"t":{now_ms:.3f}']
        if self._controls:
            parts.append(f'"c":{orjson.dumps(self._controls).decode()}')
        if self._answers:
            parts.append(f'"r":[{",".join(self._answers)}]')
        self.clear()
        listed = ",".join([f"[{seq},{_quoted(name)},{payload}{_options(name)}]" for seq, name, payload in events])
        if listed:
            parts.append(f'"e":[{listed}]')
        return ("{" + ",".join(parts) + "}").encode(errors="replace")


@lru_cache(maxsize=1024)
def _quoted(name: str) -> str:
    return orjson.dumps(name).decode()


@lru_cache(maxsize=1024)
def _options(name: str) -> str:
    return ',{"cron":true}' if name.startswith(CRON_PREFIX) else ""
