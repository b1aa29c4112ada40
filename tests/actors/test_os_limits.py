"""What the operating system holds workers to; that it does is seen from outside, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flora.actors.os_limits import MB, dedicated_limits

LIMITED = """
from pathlib import Path
from flora.actors.os_limits import apply_to_dedicated_worker, apply_to_worker
print(apply_to_worker() | apply_to_dedicated_worker(64, 64))
print(Path("/proc/self/limits").read_text())
print(Path("/proc/self/status").read_text())
held = []
try:
    for _ in range(64):
        held.append(bytearray(64 << 20))
except MemoryError:
    print("held", len(held))
"""


def test_given_larger_heaps_when_worked_out_then_a_dedicated_worker_may_have_more_and_never_less_than_it_has():
    small = dedicated_limits(1000 * MB, 100 * MB, heap_mb=64, buffer_mb=64)
    large = dedicated_limits(1000 * MB, 100 * MB, heap_mb=512, buffer_mb=64)

    assert small.address_space_bytes > 1000 * MB
    assert 100 * MB + 4 * (64 + 64) * MB < small.data_bytes < small.address_space_bytes
    assert large.data_bytes - small.data_bytes == 4 * int(448 * 1.25) * MB


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts memory that way")
@pytest.mark.service
def test_given_a_limited_process_when_looked_at_then_the_limits_are_in_force():
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, timeout=20, check=True)

    rows = {line[:26].strip(): line[26:].split() for line in done.stdout.splitlines() if line.startswith("Max ")}
    assert rows["Max core file size"][:2] == ["0", "0"]
    assert rows["Max open files"][1] == "1024"
    assert "unlimited" not in rows["Max address space"][:2] + rows["Max data size"][:2]
    assert "NoNewPrivs:\t1" in done.stdout
    held = int(done.stdout.rsplit("held ", 1)[1])
    assert 8 <= held * 64 / 128 <= 24, "about 1.4 GB, and then no more"
