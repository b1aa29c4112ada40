"""What we put right in the actor library: a fix can go when its tests pass without it."""

from __future__ import annotations

import platform
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from thespian.actors import ActorAddress
from thespian.system.transport import TransmitIntent

from flora.actors import library_fixes

pytestmark = [pytest.mark.service, pytest.mark.timeout(60)]

DIES_OF_A_FAULT = """
import ctypes
import mmap
import os
from pathlib import Path

from thespian.actors import Actor, ActorExitRequest, ChildActorExited

from flora.actors import library_fixes, system


class Victim(Actor):
    def receiveMessage(self, msg, sender):
        if msg == "pid":
            self.send(sender, os.getpid())
        elif msg == "trap":  # an instruction that is none, as V8 ends a process
            code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
            code.write(bytes.fromhex("0f0b"))
            address = ctypes.addressof(ctypes.c_char.from_buffer(code))
            ctypes.CFUNCTYPE(None)(address)()
        elif msg == "address":
            ctypes.string_at(1)


class Parent(Actor):
    def receiveMessage(self, msg, sender):
        if isinstance(msg, str):
            self.asker, self.how = sender, msg
            self.send(self.createActor(Victim), "pid")
        elif isinstance(msg, int):
            self.victim = msg
            self.send(sender, self.how)
        elif isinstance(msg, ChildActorExited):
            once, twice = (library_fixes.exit_code_of(self.victim) for _ in range(2))
            self.send(self.asker, f"child exited {once} {twice}")


if __name__ == "__main__":
    running = system.start(b"s" * 32, "info", Path.cwd())
    for how in FAULTS:
        print(how, running.ask(running.create(Parent), how, 10))
    running.shutdown(2)
"""


TWO_DIE_AT_ONCE = """
import os
import signal
from pathlib import Path

from thespian.actors import Actor, ChildActorExited

from flora.actors import system


class Victim(Actor):
    def receiveMessage(self, msg, sender):
        if msg == "pid":
            self.send(sender, os.getpid())


class Parent(Actor):
    def receiveMessage(self, msg, sender):
        if msg == "kill":
            self.asker, self.pids, self.heard = sender, [], []
            for _ in range(2):
                self.send(self.createActor(Victim), "pid")
        elif isinstance(msg, int):
            self.pids.append(msg)
            if len(self.pids) == 2:
                os.kill(self.pids[0], signal.SIGKILL)
        elif isinstance(msg, ChildActorExited):
            self.heard.append(str(msg.childAddress))
            if len(self.heard) == 1:  # the other one dies while the library is busy with the first
                os.kill(self.pids[1], signal.SIGKILL)
                os.waitid(os.P_PID, self.pids[1], os.WEXITED | os.WNOWAIT)
            else:
                self.send(self.asker, f"{len(set(self.heard))} children exited")


if __name__ == "__main__":
    running = system.start(b"s" * 32, "info", Path.cwd())
    print(running.ask(running.create(Parent), "kill", 5))
    running.shutdown(2)
"""


def run(folder: Path, program: str) -> str:
    path = folder / "program.py"
    path.write_text(program)
    done = subprocess.run(
        [sys.executable, str(path)], cwd=folder, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_given_a_send_that_waits_for_another_one_then_it_looks_again_after_a_moment():
    waiting = TransmitIntent(ActorAddress(None), "message")
    waiting.awaitingTXSlot()

    assert library_fixes._original_delay(waiting) > timedelta(seconds=60), "the library would sleep for so long"
    assert library_fixes._delay(waiting) <= library_fixes.WAITING_SEND_POLL


def test_given_a_send_that_waits_for_nothing_then_its_delay_is_the_librarys():
    ready = TransmitIntent(ActorAddress(None), "message")

    assert library_fixes._delay(ready) > timedelta(seconds=60)


@pytest.mark.parametrize("how", ["trap", "address"])
def test_given_an_actor_that_faults_then_its_process_ends_and_the_parent_hears_it_and_can_ask_how_once(tmp_path, how):
    if how == "trap" and not _is_x86():
        pytest.skip("the invalid instruction is written for x86-64")

    said = run(tmp_path, DIES_OF_A_FAULT.replace("FAULTS", repr([how]))).strip()

    number = signal.SIGILL if how == "trap" else signal.SIGSEGV
    assert said == f"{how} child exited {-number} None"


def test_given_two_children_that_die_at_the_same_moment_then_the_parent_hears_of_both(tmp_path):
    assert run(tmp_path, TWO_DIE_AT_ONCE).strip() == "2 children exited"


def _is_x86() -> bool:
    return platform.machine() in {"x86_64", "AMD64"}
