"""Room for frames: what a function call costs must not depend on how deep it is."""

from __future__ import annotations

import resource
import sys
import threading
from collections.abc import Callable

import pytest

from flora.actors.stack_room import with_room

CALLS = 300
DEEPEST = 150


def leaf() -> None:
    a = b = c = d = e = f = g = h = None  # noqa: F841 - a frame of some size


def at_depth(depth: int, then: Callable[[], int]) -> int:
    return then() if depth == 0 else at_depth(depth - 1, then)


def faults_of_calls() -> int:
    """Pages that the kernel had to find while a small function was called again and again."""
    leaf()
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(CALLS):
        leaf()
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before


def worst_of(run: Callable[[Callable[[], int]], int]) -> int:
    """At the worst depth of a stack that begins in a thread of its own."""
    found: list[int] = []

    def measure() -> None:
        found.append(run(lambda: max(at_depth(depth, faults_of_calls) for depth in range(DEEPEST))))

    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()
    return found[0]


def test_given_room_when_functions_are_called_at_any_depth_then_none_needs_memory_of_its_own() -> None:
    assert worst_of(with_room) < CALLS / 2


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="says whether the fix can go; looked at with 3.11")
def test_given_no_room_then_there_is_a_depth_at_which_each_call_does() -> None:
    assert worst_of(lambda call: call()) >= CALLS
