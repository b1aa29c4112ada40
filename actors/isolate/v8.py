"""The C entry points of mini-racer, and nothing above them.

`py_mini_racer` puts an asyncio layer over these functions that costs milliseconds per call; this module binds the same
shared library directly. It is written against exactly one version, because these entry points are not a published
interface: another version is refused at import.

Rules the library imposes
- A *context* (one V8 isolate with its own thread) is an integer. Every call names it.
- `evaluate` and `call` only put work into the context's queue. How it ended arrives at the context's completion
  function, on the V8 thread (completions.py). Microtasks run after each piece of work, outside it.
- `get_item`, `set_item` and `heap_stats` wait for the V8 thread: only for a context that is known to be idle.
- A *handle* is the address of a small record. It belongs to the context and lives until `free`, or the context's end.
- `free_context` waits until the V8 thread stopped, which may be never. Nothing may be called for a context afterwards.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import struct
import sys
import threading
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

SUPPORTED_VERSION: Final = "0.14.1"

FLAGS: Final = (
    "--single-threaded",  # no helper threads per isolate: the host has many isolates and few cores
    "--no-compilation-cache",  # every source text would stay in the heap; second defence, sources are rare here
    "--disallow-code-generation-from-strings",  # no eval in guests; the host's own evaluations still work
    "--optimize-for-size",  # small young generation: half the memory of a busy isolate, no measurable cost per event
)

MAX_TEXT_BYTES: Final = 256 * 1024 * 1024  # V8 aborts the process on a string over 2^29 - 24 characters; half is plenty

_installed = importlib.metadata.version("mini-racer")
if _installed != SUPPORTED_VERSION:
    raise ImportError(
        f"flora binds mini-racer's C functions and knows only version {SUPPORTED_VERSION}; {_installed} is installed"
    )


class Kind(IntEnum):
    """What a handle stands for, as mini-racer numbers it."""

    INVALID = 0
    NULL = 1
    BOOL = 2
    INTEGER = 3
    DOUBLE = 4
    TEXT = 5
    ARRAY = 6
    DATE = 8
    SYMBOL = 9
    OBJECT = 10
    UNDEFINED = 11
    FUNCTION = 100
    SHARED_BUFFER = 101
    BUFFER = 102
    PROMISE = 103
    THREW = 200
    PARSE_ERROR = 201
    OUT_OF_MEMORY = 202
    TIMED_OUT = 203
    TERMINATED = 204
    BAD_VALUE = 205
    BAD_KEY = 206


FIRST_ERROR: Final = int(Kind.THREW)
_TEXT: Final = int(Kind.TEXT)
_RECORD: Final = struct.Struct("<QQB")  # value or pointer, length in bytes, kind; packed
_RECORD_BYTES: Final = _RECORD.size
_u64, _ptr, _size = ctypes.c_uint64, ctypes.c_void_p, ctypes.c_size_t
_string_at = ctypes.string_at

# name here: (name in the library, argument types, result type)
_FUNCTIONS: Final[dict[str, tuple[str, list[Any], Any]]] = {
    "evaluate": ("mr_eval", [_u64, _ptr, _u64], _u64),
    "call": ("mr_call_function", [_u64, _ptr, _ptr, _ptr, _u64], _u64),
    "free": ("mr_free_value", [_u64, _ptr], None),
    "alloc_bytes": ("mr_alloc_string_val", [_u64, ctypes.c_char_p, _u64, ctypes.c_uint8], _ptr),
    "alloc_int": ("mr_alloc_int_val", [_u64, ctypes.c_int64, ctypes.c_uint8], _ptr),
    "cancel": ("mr_cancel_task", [_u64, _u64], None),
    "get_item": ("mr_get_object_item", [_u64, _ptr, _ptr], _ptr),
    "set_item": ("mr_set_object_item", [_u64, _ptr, _ptr, _ptr], _ptr),
    "set_hard_limit": ("mr_set_hard_memory_limit", [_u64, _size], None),
    "set_soft_limit": ("mr_set_soft_memory_limit", [_u64, _size], None),
    "hard_limit_reached": ("mr_hard_memory_limit_reached", [_u64], ctypes.c_bool),
    "soft_limit_reached": ("mr_soft_memory_limit_reached", [_u64], ctypes.c_bool),
    "heap_stats": ("mr_heap_stats", [_u64], _ptr),
    "collect_garbage": ("mr_low_memory_notification", [_u64], None),
    "value_count": ("mr_value_count", [_u64], _size),
    "context_count": ("mr_context_count", [], _size),
    "new_context": ("mr_init_context", [_ptr], _u64),
    "free_context": ("mr_free_context", [_u64], None),
}


class V8:
    """mini-racer's functions as plain callables. One per process, from `init_v8`."""

    evaluate: Any
    call: Any
    free: Any
    alloc_bytes: Any
    alloc_int: Any
    cancel: Any
    get_item: Any
    set_item: Any
    set_hard_limit: Any
    set_soft_limit: Any
    hard_limit_reached: Any
    soft_limit_reached: Any
    heap_stats: Any
    collect_garbage: Any
    value_count: Any
    context_count: Any
    new_context: Any
    free_context: Any

    def __init__(self, library: Path, icu_data: Path, flags: tuple[str, ...]) -> None:
        dll = ctypes.CDLL(str(library))
        dll.mr_init_v8.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
        dll.mr_init_v8.restype = None
        dll.mr_v8_version.restype = ctypes.c_char_p
        for name, (symbol, argtypes, restype) in _FUNCTIONS.items():
            function = dll[symbol]
            function.argtypes, function.restype = argtypes, restype
            setattr(self, name, function)
        dll.mr_init_v8(" ".join(flags).encode(), str(icu_data).encode())
        self.version: str = dll.mr_v8_version().decode()
        self.process_id = os.getpid()

    def alloc_text(self, context: int, text: bytes) -> int:
        """Handle of a string; the bytes (UTF-8) are copied.

        Raises:
            ValueError: longer than MAX_TEXT_BYTES.
        """
        if len(text) > MAX_TEXT_BYTES:
            raise ValueError(f"a text of {len(text)} bytes is too long for V8")
        return int(self.alloc_bytes(context, text, len(text), _TEXT))

    def read(self, context: int, handle: int) -> tuple[int, bytes | int]:
        """Kind and content of a value, and free it. Content: bytes of a text or error message, else the raw 64 bits."""
        value, length, kind = _RECORD.unpack(_string_at(handle, _RECORD_BYTES))
        content: bytes | int = value
        if kind == _TEXT or kind >= FIRST_ERROR:
            content = _string_at(value, length)
        self.free(context, handle)
        return kind, content


def peek(handle: int) -> tuple[int, int, int]:
    """Raw 64 bits (pointer, number), length in bytes and kind of a value that stays allocated."""
    value, length, kind = _RECORD.unpack(_string_at(handle, _RECORD_BYTES))
    return value, length, kind


_instance: V8 | None = None
_instance_lock = threading.Lock()


def init_v8(flags: tuple[str, ...] = FLAGS) -> V8:
    """Start V8 in this process, once; later calls give the same object and ignore `flags`.

    Never call it in a process that will fork afterwards: V8 does not survive a fork.

    Raises:
        RuntimeError: this process was forked from one in which V8 already ran.
    """
    global _instance  # noqa: PLW0603 - V8 exists once per process, so does this
    with _instance_lock:
        if _instance is None:
            spec = importlib.util.find_spec("py_mini_racer")
            if spec is None or spec.submodule_search_locations is None:
                raise ImportError("the package py_mini_racer has no folder")
            folder = Path(next(iter(spec.submodule_search_locations)))
            name = "libmini_racer.dylib" if sys.platform == "darwin" else "libmini_racer.so"
            _instance = V8(folder / name, folder / "icudtl.dat", flags)
        if _instance.process_id != os.getpid():
            raise RuntimeError("V8 was started before this process was forked; start it in the worker only")
        return _instance
