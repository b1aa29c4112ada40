"""What an isolate can be, and everything it can say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

LINES_BEFORE_SCRIPT: Final = 1  # what `Isolate.load` puts in front of the script
_PARSE_ERROR: Final = re.compile(r"<anonymous>:(?P<line>\d+): (?P<message>.*)")


class State(Enum):
    """Where an isolate is in its life."""

    OPENING = "opening"
    IDLE = "idle"
    BUSY = "busy"
    SPENT = "spent"  # heap limit reached; only `close` is left
    CLOSING = "closing"
    CLOSED = "closed"
    WEDGED = "wedged"  # its close does not return


class FaultKind(Enum):
    """Every way a round trip, a load or an opening can fail."""

    OUT_OF_MEMORY = "out_of_memory"  # heap limit; the isolate is SPENT
    TERMINATED = "terminated"  # cancelled; the isolate is usable, its output is still there for `take`
    SCRIPT_ERROR = "script_error"  # the script does not parse, or its wrapper was broken
    PROTOCOL_ERROR = "protocol_error"  # a function of the prelude threw; a bug of ours or of the input
    BOOT_FAILED = "boot_failed"  # prelude or SDK threw; the isolate is CLOSED
    BOOT_TIMED_OUT = "boot_timed_out"  # they did not finish; the isolate is CLOSED


@dataclass(frozen=True, slots=True)
class Fault:
    """How a piece of work failed; `text` is V8's message."""

    kind: FaultKind
    text: str = ""
    line: int | None = None  # SCRIPT_ERROR: line and column in the script, from 1, when V8 told them
    column: int | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """The isolate is booted and idle. `output` is one JSON object in the form of `take`."""

    output: bytes
    took_s: float


@dataclass(frozen=True, slots=True)
class Closed:
    """The context ended, or (`wedged`) did not within CLOSE_LIMIT_S. A wedged one may still end and say so later."""

    wedged: bool


Output = bytes | Fault | Opened | Closed


def script_error(text: str) -> Fault:
    """V8's parse error: `<anonymous>:LINE: SyntaxError: …`, the source line, then a caret under the place."""
    found = _PARSE_ERROR.match(text)
    if found is None:
        return Fault(FaultKind.SCRIPT_ERROR, text)
    lines = text.splitlines()
    column = lines[2].find("^") + 1 if len(lines) > 2 else 0
    line = int(found["line"]) - LINES_BEFORE_SCRIPT
    return Fault(FaultKind.SCRIPT_ERROR, found["message"], line, column or None)
