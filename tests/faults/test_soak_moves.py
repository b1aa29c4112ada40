"""A short soak of moves: guilds move, scripts change, workers come, go and are killed, all at once and under load.

FLORA_SOAK_SECONDS=120 for a longer one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SECONDS = int(os.environ.get("FLORA_SOAK_SECONDS", "10"))  # scripts/soak --moves alone runs for five minutes
RATE_PER_S = 100  # the long one sends 500; tests share their machine
LIMIT_S = 190 + SECONDS

pytestmark = [pytest.mark.service, pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(LIMIT_S + 10)]


@pytest.mark.scenario("T25", "T41", "T50")
def test_given_moves_deploys_and_kills_under_load_then_every_event_was_answered_once_and_every_guild_is_in_one_worker(
    built_sdk,
):
    command = [sys.executable, "-m", "flora.scripts.soak", "--moves", "--json"]
    command += ["--seconds", str(SECONDS), "--rate", str(RATE_PER_S), "--guilds", "12"]

    finished = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)

    assert finished.returncode in {0, 1}, finished.stderr
    report = json.loads(finished.stdout)
    assert report["problems"] == [], finished.stderr
    assert report["answered"] + report["failed"] + report["shed"] >= report["sent"] > 0
    assert report["orders"]["migrate"].get("ok", 0) > 0
    assert report["rests"] > 0
    assert report["exit_code"] == 0
