"""Making one isolate: context, limits, prelude, flight recorder page, boot call, SDK.

Blocks for some milliseconds per step, so the engine runs it on a helper thread. All code that runs here is ours;
guests come later, through `Isolate.load`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from flora.actors.isolate.completions import CompletionPort
from flora.actors.isolate.progress import Slot
from flora.actors.isolate.threads import name_thread, started_thread
from flora.actors.isolate.v8 import FIRST_ERROR, V8, Kind, peek

SOFT_LIMIT_SHARE: Final = 0.5  # of the heap limit; from here the engine collects garbage between round trips
# Of the heap limit; from here V8 ends the run. It counts garbage too, and with less room above the limit a guest that uses
# half of it was ended now and then. What is in use after a collection is held to the limit itself.
CEILING_SHARE: Final = 1.25

# The prelude's functions take their one argument as `this`: that way a call carries a string without first storing it
# in an argument array, which would be one more wait for the V8 thread (measured: 33 against 46 µs per dispatch).
_GLUE: Final = b"""(function (prelude) {
  "use strict"
  const { boot, dispatch, take, load, progress } = prelude
  return {
    boot() { boot(this) },
    dispatch() { dispatch(this) },
    load() { load(this) },
    take() { return take() },
    progress,
    none: [],
  }
})
//# sourceURL=flora:engine"""


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolateSpec:
    """Everything needed to make an isolate, and to make it again."""

    name: str  # guild id; empty for the default isolate
    prelude: str
    sdk: str | None
    boot: Mapping[str, Any] = field(default_factory=dict)  # the boot call's object; progressOffset is added here
    heap_limit_mb: int
    boot_limit_s: float
    started_before: int = 0  # for the flight recorder: see `Recorder.claim`


@dataclass(slots=True)
class Parts:
    """An open context and the handles the engine calls."""

    context: int
    dispatch: int
    load: int
    take: int
    no_args: int
    undefined: int
    first: int  # channel for the work itself
    second: int  # channel for the take that follows it
    output: bytes  # what the prelude and the SDK produced while booting
    buffer: int  # keeps the recorder's memory alive
    thread_id: int  # of V8, for threads.py


class OpenFailed(Exception):
    """The isolate could not be made; `timed_out` or the error text says why. Nothing is left behind."""

    def __init__(self, text: str, *, timed_out: bool = False) -> None:
        super().__init__(text)
        self.timed_out = timed_out


class _Opening:
    def __init__(self, v8: V8, port: CompletionPort, limit_s: float) -> None:
        self.v8 = v8
        self._port = port
        self._deadline = time.monotonic() + limit_s
        self.first, self.second = port.open_channel(), port.open_channel()
        self.context, self.thread_id = started_thread(lambda: v8.new_context(port.callback))
        self.undefined = v8.alloc_int(self.context, 0, Kind.UNDEFINED)

    def evaluate(self, source: bytes) -> int:
        code = self.v8.alloc_text(self.context, source)
        task = self.v8.evaluate(self.context, code, self.first)
        self.v8.free(self.context, code)
        return self._finish(task)

    def call(self, function: int, this: int, args: int) -> int:
        return self._finish(self.v8.call(self.context, function, this, args, self.first))

    def item(self, thing: int, key: bytes) -> int:
        name = self.v8.alloc_text(self.context, key)
        found = int(self.v8.get_item(self.context, thing, name))
        self.v8.free(self.context, name)
        return self._checked(found)

    def _finish(self, task: int) -> int:
        handle = self._port.wait(self.first, self._deadline - time.monotonic())
        if not handle:
            self.v8.cancel(self.context, task)
            raise OpenFailed("bootstrap timed out", timed_out=True)
        return self._checked(handle)

    def _checked(self, handle: int) -> int:
        if peek(handle)[2] >= FIRST_ERROR:
            _, text = self.v8.read(self.context, handle)
            raise OpenFailed(text.decode(errors="replace").strip() if isinstance(text, bytes) else "unknown error")
        return handle

    def abandon(self) -> None:
        """End the context wherever it is; in its own thread, because a stuck one may take forever."""

        def free() -> None:
            self.v8.free_context(self.context)
            self._port.close_channel(self.first)
            self._port.close_channel(self.second)

        threading.Thread(target=free, name="isolate abandon", daemon=True).start()


def open_context(v8: V8, port: CompletionPort, spec: IsolateSpec, slot: Slot) -> Parts:
    """Make the isolate that `spec` describes, idle and booted.

    Args:
        slot: its page of the flight recorder; mapped here.
    Raises:
        OpenFailed: prelude, boot or SDK threw, or they took longer than `spec.boot_limit_s` seconds.
    """
    opening = _Opening(v8, port, spec.boot_limit_s)
    name_thread(opening.thread_id, spec.name or "default")
    try:
        return _boot(opening, spec, slot)
    except BaseException:
        slot.unmap()
        opening.abandon()
        raise


def _boot(opening: _Opening, spec: IsolateSpec, slot: Slot) -> Parts:
    v8, context = opening.v8, opening.context
    heap_limit = spec.heap_limit_mb * 1024 * 1024
    v8.set_hard_limit(context, int(heap_limit * CEILING_SHARE))
    v8.set_soft_limit(context, int(heap_limit * SOFT_LIMIT_SHARE))
    glued = _glue(opening, opening.evaluate(spec.prelude.encode(errors="replace")))

    buffer = opening.item(glued, b"progress")
    address, length, kind = peek(buffer)
    offset = slot.map_over(address, length) if kind == Kind.BUFFER else -1
    no_args = opening.item(glued, b"none")
    boot_text = v8.alloc_text(context, orjson.dumps({**spec.boot, "progressOffset": max(offset, 0)}))
    boot = opening.item(glued, b"boot")
    v8.free(context, opening.call(boot, boot_text, no_args))
    if spec.sdk is not None:
        v8.free(context, opening.evaluate(spec.sdk.encode(errors="replace")))
    take = opening.item(glued, b"take")
    _, output = v8.read(context, opening.call(take, opening.undefined, no_args))
    parts = Parts(
        context=context,
        dispatch=opening.item(glued, b"dispatch"),
        load=opening.item(glued, b"load"),
        take=take,
        no_args=no_args,
        undefined=opening.undefined,
        first=opening.first,
        second=opening.second,
        output=output if isinstance(output, bytes) else b"{}",
        buffer=buffer,
        thread_id=opening.thread_id,
    )
    for handle in (glued, boot, boot_text):
        v8.free(context, handle)
    return parts


def _glue(opening: _Opening, prelude: int) -> int:
    """The prelude's object, turned into functions that take their argument as `this`."""
    v8, context = opening.v8, opening.context
    glue, args = opening.evaluate(_GLUE), opening.evaluate(b"[]")
    zero = v8.alloc_int(context, 0, Kind.INTEGER)
    v8.free(context, v8.set_item(context, args, zero, prelude))
    glued = opening.call(glue, opening.undefined, args)
    for handle in (glue, args, zero, prelude):
        v8.free(context, handle)
    return glued
