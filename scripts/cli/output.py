"""Writing for people and for programs. Data goes to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from datetime import datetime
from typing import Any, Self, TextIO

_LEVEL_COLOURS = {"trace": "90", "debug": "36", "info": "32", "warn": "33", "error": "31"}
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
REDRAW_EVERY_S = 0.1


def print_json(value: Any) -> None:
    """One JSON document, indented for a person at a terminal."""
    print(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def note(text: str) -> None:
    """Something for the person, that is not data."""
    print(text, file=sys.stderr, flush=True)


def safe(text: str) -> str:
    """Text of other people for a terminal: control characters are shown, not obeyed; tabs and line ends stay."""
    return _CONTROLS.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def level_label(level: str) -> str:
    """A log level, five columns wide, coloured where colours are wanted."""
    label = f"{level.upper():<5}"
    return f"\x1b[{_LEVEL_COLOURS.get(level, '0')}m{label}\x1b[0m" if colours(sys.stdout) else label


def colours(stream: TextIO) -> bool:
    """A terminal, and nobody said NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def local_time(rfc3339: str) -> str:
    """A time of the API on this machine's clock."""
    return datetime.fromisoformat(rfc3339).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def size(count: int) -> str:
    """Bytes for a person."""
    value, units = float(count), ("B", "kB", "MB", "GB")
    for unit in units[:-1]:
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} {units[-1]}"


def duration(seconds: float) -> str:
    """Seconds for a person: `350 ms`, `2.5 s`, `3 min 20 s`, `5 h 12 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min {int(seconds % 60)} s"
    return f"{minutes // 60} h {minutes % 60} min"


def plural(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


class Progress:
    """Something that takes a while: at a terminal a line with the running seconds, else one line at its start."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._live = sys.stderr.isatty()
        self._started = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._redraw, daemon=True)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started

    def __enter__(self) -> Self:
        if self._live:
            self._thread.start()
        else:
            note(f"{self._text} …")
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._live:
            self._thread.join()
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _redraw(self) -> None:
        while not self._done.wait(REDRAW_EVERY_S):
            sys.stderr.write(f"\r\x1b[K{self._text} … {self.elapsed_s:.1f} s")
            sys.stderr.flush()
