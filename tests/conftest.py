"""Fixtures for every test. Helpers of one folder live in that folder's own conftest.py."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

POLL_EVERY_S = 0.01


class Eventually:
    """Waits for something to become true, with a deadline instead of a sleep.

    `eventually(condition, within_s=5)` in plain tests, `await eventually.soon(condition, within_s=5)` in asyncio tests.
    Both return the first truthy value; both raise AssertionError when it does not come.
    """

    def __call__(self, condition: Callable[[], Any], *, within_s: float = 5.0, what: str = "") -> Any:
        deadline = time.monotonic() + within_s
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(_too_late(condition, within_s, what))
            time.sleep(POLL_EVERY_S)

    async def soon(
        self, condition: Callable[[], Any | Awaitable[Any]], *, within_s: float = 5.0, what: str = ""
    ) -> Any:
        deadline = time.monotonic() + within_s
        while True:
            value = condition()
            if inspect.isawaitable(value):
                value = await value
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(_too_late(condition, within_s, what))
            await asyncio.sleep(POLL_EVERY_S)


def _too_late(condition: Callable[[], Any], within_s: float, what: str) -> str:
    return f"not within {within_s} s: {what or getattr(condition, '__qualname__', repr(condition))}"


@pytest.fixture(scope="session")
def eventually() -> Eventually:
    return Eventually()


def running_in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}
