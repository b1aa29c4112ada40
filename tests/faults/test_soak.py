"""A short soak: processes are killed at random under load; no event is lost, doubled or out of order, and nothing is left behind.

FLORA_SOAK_SECONDS=120 for a longer one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SECONDS = int(os.environ.get("FLORA_SOAK_SECONDS", "20"))  # scripts/soak alone runs for five minutes
RATE_PER_S = 200  # the long one sends 500; tests share their machine
LIMIT_S = 190 + SECONDS  # a boot, the last replies and the end of a busy machine
PARTS = ["worker", "router", "gateway", "cron", "http", "log book", "deployer", "compiler", "postgres", "valkey"]

pytestmark = [pytest.mark.service, pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(LIMIT_S + 10)]


@pytest.mark.scenario("T25", "T34")
def test_given_random_kills_under_load_when_all_is_quiet_again_then_every_event_was_answered_once_and_in_order(
    built_sdk,
):
    command = [sys.executable, "-m", "flora.scripts.soak", "--json"]
    command += ["--seconds", str(SECONDS), "--rate", str(RATE_PER_S), "--guilds", "20", "--kill", *PARTS]

    finished = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)

    assert finished.returncode in {0, 1}, finished.stderr
    report = json.loads(finished.stdout)
    assert report["problems"] == [], finished.stderr
    assert report["answered"] + report["failed"] + report["shed"] >= report["sent"] > 0
    assert len(report["kills"]) >= SECONDS / 10
    assert report["exit_code"] == 0
