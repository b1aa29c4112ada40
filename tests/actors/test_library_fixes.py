"""What we put right in the actor library: a fix can go when its tests pass without it."""

from __future__ import annotations

import platform
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from thespian.actors import Actor, ActorAddress, ActorExitRequest, ActorSystem, PoisonMessage
from thespian.system.transport import TransmitIntent

from flora.actors import library_fixes
from flora.messages.base import Ok

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


class Sums(Actor):
    """Answers each number with the sum so far, and after a 0 that it tells itself once more; raises at a negative one."""

    def __init__(self):
        super().__init__()
        self.sum = 0

    def receiveMessage(self, msg, sender):
        if not isinstance(msg, Ok):
            return
        if msg.value < 0:
            raise ValueError(msg.value)
        if msg.value == 0:
            self.send(self.myAddress, Ok(req_id=msg.req_id, value=100))
        self.sum += msg.value
        if sender != self.myAddress:
            self.send(sender, Ok(req_id=msg.req_id, value=self.sum))


@pytest.fixture
def local():
    library_fixes.install()
    return ActorSystem("simpleSystemBase", logDefs=False, transientUnique=True)


def heard(local) -> list[object]:
    return list(iter(lambda: local.listen(0), None))


def test_given_actors_in_one_process_when_told_then_each_answers_in_order(local):
    first, second = local.createActor(Sums), local.createActor(Sums)

    for number in range(1, 4):
        local.tell(first, Ok(req_id="first", value=number))
        local.tell(second, Ok(req_id="second", value=10 * number))

    assert [(answer.req_id, answer.value) for answer in heard(local)] == [
        *(("first", 1), ("second", 10), ("first", 3), ("second", 30), ("first", 6), ("second", 60))
    ]


def test_given_an_actor_that_tells_itself_something_when_told_then_that_is_delivered_too(local):
    actor = local.createActor(Sums)

    local.tell(actor, Ok(req_id="1", value=0))
    local.tell(actor, Ok(req_id="2", value=1))

    assert [answer.value for answer in heard(local)] == [0, 101]


def test_given_an_actor_that_raises_when_told_then_the_library_tries_again_and_hands_it_back_and_others_go_on(local):
    actor, other = local.createActor(Sums), local.createActor(Sums)

    local.tell(actor, bad := Ok(req_id="1", value=-1))
    local.tell(other, Ok(req_id="2", value=2))

    poison, answer = heard(local)
    assert isinstance(poison, PoisonMessage)
    assert poison.poisonMessage == bad
    assert answer.value == 2


def test_given_an_actor_that_has_ended_when_told_then_nobody_answers_and_others_go_on(local):
    actor, other = local.createActor(Sums), local.createActor(Sums)

    local.tell(actor, ActorExitRequest())
    local.tell(actor, Ok(req_id="1", value=1))
    local.tell(other, Ok(req_id="2", value=2))

    assert [answer.value for answer in heard(local) if isinstance(answer, Ok)] == [2]


def _is_x86() -> bool:
    return platform.machine() in {"x86_64", "AMD64"}
