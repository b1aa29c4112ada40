"""The front-end as a real actor in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("frontend_program.py")


@pytest.mark.service
@pytest.mark.timeout(60)
def test_the_actor_serves_from_start_to_drain_and_says_when_its_port_is_taken(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM, tmp_path], capture_output=True, text=True, check=False, timeout=50, cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
    started, served, refused, still, drained, after = map(json.loads, done.stdout.splitlines())
    port = started["ok"]["port"]
    assert (started["ok"]["address"], started["ok"]["pid"] > 0) == ("127.0.0.1", True)
    assert served["health"] == [200, "ok"]
    assert served["ready"] == [503, '{"ready":false,"stage":"the runtime does not answer"}']
    assert refused["failed"] == "CONFIG_ERROR"
    assert f"127.0.0.1:{port}" in refused["message"]
    assert still["health"] == [200, "ok"]
    assert drained == {"ok": 0}
    assert after["health"] == [200, "ok"]
    assert after["me"][0] == 503
