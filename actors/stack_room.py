"""Room for the frames of Python functions, taken once.

CPython (3.11 and later) keeps the frames of a thread in chunks of 16 KB. A loop that stands near the end of one has the functions it calls
begin another, and give it back when they return: two system calls that each time halt every thread of the process, some 60 µs with as
many threads as V8 has here. Which functions that hits depends on how deep the stack happens to be. A function with a large frame gets
a chunk of its own size, rounded up to a power of two, and what is left of that is there as long as it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

T = TypeVar("T")

_NAMES = 8_200  # eight bytes each: more than 64 KB, so the chunk has 128


def _made() -> Callable[[Callable[[], Any]], Any]:
    names = " = ".join(f"name{number}" for number in range(_NAMES))
    found: dict[str, Any] = {}
    exec(f"def with_room(call):\n    if call is None:\n        {names} = None\n    return call()\n", found)
    return cast("Callable[[Callable[[], Any]], Any]", found["with_room"])


_with_room = _made()


def with_room(call: Callable[[], T]) -> T:
    """Calls a function that runs for long; what it calls has 60 KB for its frames."""
    return cast("T", _with_room(call))
