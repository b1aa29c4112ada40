"""The simulated Discord as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from flora.http.simulator.process import PROCESS_NAME

pytestmark = pytest.mark.service
COMMAND = [sys.executable, "-m", "flora.http.simulator", "--port", "0"]


def test_given_a_start_then_it_says_where_it_is_keeps_its_state_and_stops_on_sigterm(tmp_path: Path) -> None:
    ids = []
    for _ in range(2):
        with subprocess.Popen([*COMMAND, "--data-dir", str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            with urllib.request.urlopen(ready["base_url"] + "/sim/guilds", timeout=5) as answer:
                ids.append(json.load(answer)[0]["id"])
            assert psutil.Process(process.pid).cmdline()[0] == PROCESS_NAME
            process.send_signal(signal.SIGTERM)
            assert process.wait(5) == 0
    assert ids[0] == ids[1]


def test_given_a_descriptor_then_the_ready_line_goes_there() -> None:
    reader, writer = os.pipe()
    with subprocess.Popen([*COMMAND, "--ready-fd", str(writer)], pass_fds=(writer,), stdout=subprocess.PIPE) as process:
        os.close(writer)
        with os.fdopen(reader) as line:
            ready = json.loads(line.readline())
        process.terminate()
        assert process.stdout is not None
        assert process.stdout.read() == b""
    assert ready["api_base"] == f"http://127.0.0.1:{ready['port']}/api/v10"


@pytest.mark.fault
def test_given_a_parent_that_is_killed_then_it_ends_too(eventually: Callable[..., Any]) -> None:
    parent_code = (
        "import subprocess, sys, signal\n"
        f"child = subprocess.Popen({COMMAND!r}, stdout=subprocess.PIPE, text=True)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        parent.wait()

    eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, within_s=5)
