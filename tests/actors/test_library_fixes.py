"""What we put right in the actor library, seen in real actor processes. Each test says when its fix can go: when it passes without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.service, pytest.mark.timeout(60)]

# One actor system per process, and none of it in the process of the tests.
CROSSING_SENDS = """
import time
from datetime import timedelta
from pathlib import Path

from thespian.actors import Actor, ChildActorExited

from flora.actors import system

ROUNDS = 300


class Pong(Actor):
    def receiveMessage(self, msg, sender):
        if isinstance(msg, int):
            self.send(sender, ("one", msg))
            self.send(sender, ("two", msg))


class Ping(Actor):
    # Both sides send twice at once, so that sends cross and a second one waits for the first.
    def receiveMessage(self, msg, sender):
        if msg == "go":
            self.asker, self.got = sender, 0
            self.peer = self.createActor(Pong)
            self.next(0)
        elif isinstance(msg, tuple):
            self.got += 1
            if self.got == 4 * ROUNDS:
                self.send(self.asker, "done")
            elif self.got % 4 == 0:
                self.next(self.got // 4)

    def next(self, number):
        self.send(self.peer, number)
        self.send(self.peer, number)


if __name__ == "__main__":
    running = system.start(b"s" * 32, "info", Path.cwd())
    began = time.monotonic()
    print(running.ask(running.create(Ping), "go", 20), time.monotonic() - began)
    running.shutdown(2)
"""

DIES_OF_A_FAULT = """
import ctypes
import mmap
from pathlib import Path

from thespian.actors import Actor, ActorExitRequest, ChildActorExited

from flora.actors import system


class Victim(Actor):
    def receiveMessage(self, msg, sender):
        if msg == "trap":  # an instruction that is none, as V8 ends a process
            code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
            code.write(bytes.fromhex("0f0b"))
            address = ctypes.addressof(ctypes.c_char.from_buffer(code))
            ctypes.CFUNCTYPE(None)(address)()
        elif msg == "address":
            ctypes.string_at(1)


class Parent(Actor):
    def receiveMessage(self, msg, sender):
        if isinstance(msg, str):
            self.asker = sender
            self.send(self.createActor(Victim), msg)
        elif isinstance(msg, ChildActorExited):
            self.send(self.asker, "child exited")


if __name__ == "__main__":
    running = system.start(b"s" * 32, "info", Path.cwd())
    for how in FAULTS:
        print(how, running.ask(running.create(Parent), how, 10))
    running.shutdown(2)
"""


def run(folder: Path, program: str) -> str:
    path = folder / "program.py"
    path.write_text(program)
    done = subprocess.run([sys.executable, str(path)], cwd=folder, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_given_sends_that_cross_when_a_second_one_waits_then_it_goes_out_soon(tmp_path):
    said, took_s = run(tmp_path, CROSSING_SENDS).split()

    assert said == "done"
    assert float(took_s) < 20


@pytest.mark.parametrize("how", ["trap", "address"])
def test_given_an_actor_that_faults_then_its_process_ends_and_the_parent_hears_it(tmp_path, how):
    if how == "trap" and not _is_x86():
        pytest.skip("the invalid instruction is written for x86-64")

    assert run(tmp_path, DIES_OF_A_FAULT.replace("FAULTS", repr([how]))).strip() == f"{how} child exited"


def _is_x86() -> bool:
    import platform

    return platform.machine() in {"x86_64", "AMD64"}
