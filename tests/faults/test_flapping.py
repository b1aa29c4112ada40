"""A part that dies again and again ends the system, with an error that names it."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import pytest

pytestmark = [pytest.mark.service, pytest.mark.fault, pytest.mark.timeout(90)]


def test_given_a_part_that_is_killed_whenever_it_is_back_then_the_system_ends_and_says_which_one(make_flora, wait_for):
    flora = make_flora().start()

    def killed_until_the_end() -> bool:
        for pid in [pid for pid, title in flora.processes().items() if title == "flora: cron"]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return flora.launcher.poll() is not None

    wait_for(killed_until_the_end, 60.0, "it goes on and on")

    assert flora.launcher.returncode == 1
    assert "cron died" in flora.stderr()
    assert "within a minute" in flora.stderr()
    wait_for(lambda: not flora.processes(), 10.0, f"left behind: {flora.processes()}")
