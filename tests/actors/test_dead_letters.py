"""Messages that the actor library could not deliver, in a real system."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.service, pytest.mark.timeout(60)]

PROGRAM = """
import os
import signal
from pathlib import Path

from thespian.actors import Actor, ChildActorExited

from flora.actors import dead_letters, system


class Child(Actor):
    def receiveMessage(self, msg, sender):
        if msg == "pid":
            self.send(sender, os.getpid())


class Stranger(Actor):
    def receiveMessage(self, msg, sender):
        if isinstance(msg, tuple):
            self.asker = sender
            dead_letters.listen(self.told)
            self.send(msg[1], "to a child of somebody else")

    def told(self, message, why):
        self.send(self.asker, f"stranger: {message}: {why}")


class Parent(Actor):
    def receiveMessage(self, msg, sender):
        if msg == "go":
            self.asker = sender
            self.child = self.createActor(Child)
            self.stranger = self.createActor(Stranger)
            self.send(self.child, "pid")
        elif isinstance(msg, int):
            os.kill(msg, signal.SIGKILL)
        elif isinstance(msg, ChildActorExited):
            self.send(self.stranger, ("write to", self.child))
        elif isinstance(msg, str) and msg.startswith("stranger"):
            dead_letters.listen(lambda message, why: self.send(self.asker, [msg, f"parent: {message}: {why}"]))
            self.send(self.child, "to a child that is dead")


if __name__ == "__main__":
    running = system.start(b"s" * 32, "info", Path.cwd())
    for line in running.ask(running.create(Parent), "go", 20) or ["no answer"]:
        print(line)
    running.shutdown(2)
"""


def test_given_receivers_that_are_dead_when_written_to_then_their_sender_is_told_once_each(tmp_path: Path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    done = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )

    assert done.stdout.splitlines() == [
        "stranger: to a child of somebody else: its receiver is gone",
        "parent: to a child that is dead: its receiver is gone",
    ], done.stderr
