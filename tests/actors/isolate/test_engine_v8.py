"""The C entry points, bound for exactly one version."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from flora.actors.isolate.cores import pin_process, usable_cores
from flora.actors.isolate.v8 import SUPPORTED_VERSION, Kind, init_v8, peek

OTHER_VERSION = """
import importlib.metadata
importlib.metadata.version = lambda name: "0.15.0"
import flora.actors.isolate.v8
"""
AFTER_FORK = """
import os
from flora.actors.isolate.v8 import init_v8
init_v8()
child = os.fork()
if child == 0:
    try:
        init_v8()
    except RuntimeError as error:
        os._exit(7 if "before this process was forked" in str(error) else 1)
    os._exit(2)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
PINNED = """
import os, threading
from flora.actors.isolate.cores import pin_process, usable_cores
core = usable_cores()[-1]
assert pin_process(core)
seen = []
thread = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))
thread.start(); thread.join()
assert seen == [{core}], seen
"""


def _python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=15, check=False)


def test_given_another_version_of_the_library_when_imported_then_it_is_refused() -> None:
    finished = _python(OTHER_VERSION)

    assert finished.returncode == 1
    assert f"knows only version {SUPPORTED_VERSION}; 0.15.0 is installed" in finished.stderr


def test_given_a_fork_after_v8_started_when_started_again_then_it_is_refused() -> None:
    finished = _python(AFTER_FORK)

    assert finished.returncode == 7, finished.stderr


def test_given_v8_when_asked_twice_then_it_is_the_same() -> None:
    assert init_v8() is init_v8()
    assert init_v8().version.startswith("14.4")


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("null", Kind.NULL),
        ("undefined", Kind.UNDEFINED),
        ("7", Kind.INTEGER),
        ("'text'", Kind.TEXT),
        ("[]", Kind.ARRAY),
        ("({})", Kind.OBJECT),
        ("() => 1", Kind.FUNCTION),
        ("new ArrayBuffer(8)", Kind.BUFFER),
        ("Promise.resolve()", Kind.PROMISE),
        ("throw 1", Kind.THREW),
        ("let let", Kind.PARSE_ERROR),
    ],
)
def test_given_a_value_when_read_then_its_kind_is_as_numbered_here(engine_host: Any, source: str, kind: Kind) -> None:
    talk = engine_host.open()
    v8, port = engine_host.engine.v8, engine_host.engine.port
    context, channel = talk.isolate.context(), port.open_channel()
    before = v8.value_count(context)

    code = v8.alloc_text(context, source.encode())
    v8.evaluate(context, code, channel)
    handle = port.wait(channel, 5.0)

    assert peek(handle)[2] == kind
    v8.free(context, code)
    assert v8.read(context, handle)[0] == kind
    assert v8.value_count(context) == before


@pytest.mark.skipif(not usable_cores(), reason="this system has no core affinities")
def test_given_a_core_when_pinned_then_later_threads_stay_on_it() -> None:
    finished = _python(PINNED)

    assert finished.returncode == 0, finished.stderr


def test_given_a_core_that_is_not_ours_when_pinned_then_nothing_happens() -> None:
    before = usable_cores()

    assert not pin_process(100_000)

    assert usable_cores() == before
