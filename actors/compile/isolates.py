"""The two kinds of V8 isolate a compilation uses.

`TypeScriptIsolate` is kept warm and holds typescript.js; it reads hostile text but never runs it, and is thrown away
after any failure that may have left it in a state we do not know. `check_syntax` asks a fresh isolate whether V8
accepts a text as a function body; that one is made and closed for each text, and the text is only parsed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from py_mini_racer import JSEvalException, JSParseException, JSTimeoutException, MiniRacer, mini_racer

from flora.actors.compile.model import Module

log = logging.getLogger("flora:compiler")

HEAP_LIMIT_BYTES = 512 * 1024 * 1024  # TypeScript itself takes 20 MB; a 1 MB project of one line peaks below 300 MB
_LOAD_LIMIT_S = 20.0
_TRANSFORM = Path(__file__).with_name("transform.js")
_ROOT = Path(__file__).resolve().parents[2]
_TYPESCRIPT = (_ROOT / "sdk/dist/typescript.js", _ROOT / "sdk/node_modules/typescript/lib/typescript.js")

_PARSE_ONLY = 'throw 0;(async () => {"use strict";\n%s\n})', 'throw 0;async function f() {"use strict";\n%s\n}'
"""A text that closes its function early needs `)` or `,` next in the first and the start of a statement in the second.
Both at once is impossible, so what passes both is one function body. `throw 0` keeps what was parsed from running."""
_LINES_BEFORE = 1
_THROWN = re.compile(r"[^\n]*:1: 0\n")  # the report of `throw 0`


class SourceRejected(Exception):
    """A module cannot be compiled. `kind` is parse, transpile or import; line and column count from 1."""

    def __init__(self, kind: str, text: str, line: int, column: int) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text
        self.line = line
        self.column = column


class CompilationEnded(Exception):
    """The isolate gave up: time, memory or depth. It must not be used again. `str(error)` says why, for a person."""


@dataclass(frozen=True, slots=True)
class SyntaxFault:
    """What V8 says about a text that does not parse. `column` is None where it does not say."""

    text: str
    line: int
    column: int | None


def typescript_path() -> Path:
    """Where typescript.js is: beside the SDK, as its build leaves it.

    Raises:
        FileNotFoundError: The SDK has not been built.
    """
    for path in _TYPESCRIPT:
        if path.exists():
            return path
    raise FileNotFoundError(f"{_TYPESCRIPT[0]} is missing: build the SDK first")


class _Isolate:
    """One V8 isolate with a loop of its own, which ends after it: V8 may report to the loop until it is closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="isolate loop", daemon=True)
        self._thread.start()
        self._maker = mini_racer(self._loop)
        self.racer = self._maker.__enter__()
        self.racer.set_hard_memory_limit(HEAP_LIMIT_BYTES)

    def close(self) -> None:
        """Ends the isolate without waiting: V8 may be inside something that only returns when it is done."""
        threading.Thread(target=self._close, name="close isolate", daemon=True).start()

    def _close(self) -> None:
        self._maker.__exit__(None, None, None)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class TypeScriptIsolate:
    """TypeScript in an isolate. One caller at a time; a call blocks its thread until done or `limit_s` is over."""

    def __init__(self, typescript: Path) -> None:
        """Loads the compiler, 0.2–0.5 s.

        Raises:
            CompilationEnded: It could not be loaded.
        """
        self._isolate = _Isolate()
        self._racer = self._isolate.racer
        try:
            self._racer.eval(typescript.read_text("utf-8") + "\n;0", timeout_sec=_LOAD_LIMIT_S)
            source = _TRANSFORM.read_text("utf-8")
            self._racer.eval(
                f"var transform = {source.rstrip().rstrip(';')}; var box = [null]; 0", timeout_sec=_LOAD_LIMIT_S
            )
            self._box = cast("Any", self._racer.eval("box"))
        except JSEvalException as exc:
            self.close()
            raise CompilationEnded(f"TypeScript did not load: {exc}") from exc

    def transform(self, kind: str, text: str, bundle: bool, limit_s: float) -> Module:
        """Rewrites one module.

        Args:
            kind: `.ts`, `.tsx`, `.js` or `.jsx`.
            text: The author's file.
            bundle: Whether it is a ready-made bundle, whose positions must not move.
            limit_s: Longest time to wait.

        Raises:
            SourceRejected: The text is at fault.
            CompilationEnded: The isolate must be discarded.
        """
        # The request is data, set as an element: source text would stay in V8's compilation cache.
        self._box[0] = json.dumps({"kind": kind, "text": text, "bundle": bundle})
        answer = self._run(max(limit_s, 0.001))
        if "module" in answer:
            return Module.from_json(answer["module"])
        if "error" in answer:
            raise SourceRejected(**answer["error"])
        log.warning(
            "compile isolate discarded", extra={"action": "compile_isolate_discarded", "reason": answer["poisoned"]}
        )
        reason = str(answer["poisoned"])
        raise CompilationEnded(reason if reason.startswith("the code") else "the TypeScript compiler failed on it")

    def _run(self, limit_s: float) -> dict[str, Any]:
        try:
            answer = self._racer.eval("transform(box[0])", timeout_sec=limit_s)
        except JSTimeoutException as exc:
            raise CompilationEnded("compiling it takes too long") from exc
        except JSEvalException as exc:
            raise CompilationEnded("compiling it takes too much memory") from exc
        with contextlib.suppress(JSEvalException):
            self._box[0] = None
        return cast("dict[str, Any]", json.loads(str(answer)))

    def heap_bytes(self) -> int:
        """Memory that its heap holds."""
        return int(self._racer.heap_stats()["total_physical_size"])

    def close(self) -> None:
        """Lets the isolate go, without waiting."""
        self._isolate.close()


def check_syntax(script: str, limit_s: float) -> SyntaxFault | None:
    """Whether V8 takes the text as the body of a strict async function. None: it does.

    Raises:
        CompilationEnded: It took too long or too much memory.
    """
    isolate = _Isolate()
    ends_at = time.monotonic() + limit_s
    try:
        for form in _PARSE_ONLY:
            fault = _parse(isolate.racer, form % script, max(ends_at - time.monotonic(), 0.001))
            if fault is not None:
                return fault
        return None
    finally:
        isolate.close()


def _parse(racer: MiniRacer, text: str, limit_s: float) -> SyntaxFault | None:
    try:
        racer.eval(text, timeout_sec=limit_s)
    except JSTimeoutException as exc:
        raise CompilationEnded("parsing it takes too long") from exc
    except JSParseException as exc:
        return _fault(str(exc.args[0]))
    except JSEvalException as exc:
        if _THROWN.match(str(exc.args[0])):
            return None
        raise CompilationEnded("parsing it takes too much memory") from exc
    return None


def _fault(report: str) -> SyntaxFault:
    """Reads V8's report: `name:line: SyntaxError: text`, the line itself, and a line of carets below the place."""
    head = re.match(r".{0,200}?:(\d+): (.*)", report)
    if head is None:
        return SyntaxFault("SyntaxError", 1, None)
    carets = re.search(r"^( *)\^+$", report, re.MULTILINE)
    return SyntaxFault(head[2], max(int(head[1]) - _LINES_BEFORE, 1), len(carets[1]) + 1 if carets else None)
