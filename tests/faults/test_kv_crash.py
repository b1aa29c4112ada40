"""A process that writes to its stores is killed, again and again. FLORA_KV_CRASH_ROUNDS=200 for the long form."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flora.messages.ids import GuildId
from flora.storage.kv import Durability, KvFiles
from flora.storage.ports import KvGuild

pytestmark = pytest.mark.fault

ROUNDS = int(os.environ.get("FLORA_KV_CRASH_ROUNDS", "4"))
SEED = random.randrange(10_000)
KEYS = 24
VALUE_BYTES = 64 * 1024

# Writes, overwrites, deletes and compacts as fast as it can, and tells each write when it is done.
WRITER = f"""
import os, sys
from pathlib import Path
from flora.storage.kv import Durability, KvFiles, KvLimits
from flora.storage.ports import KvValue
files = KvFiles(Path(sys.argv[1]), durability=Durability(sys.argv[2]), limits=KvLimits(writes_per_minute=0))
kv = files.open_guild("1")
number = int(sys.argv[3])
while True:
    key = f"k{{number % {KEYS}}}"
    if number % 11 == 0:
        kv.delete("s", key)
    else:
        kv.set("s", key, KvValue((str(number) + " ") * ({VALUE_BYTES} // len(str(number) + " "))), metadata=number)
    os.write(1, b"%d\\n" % number)
    kv.maintain(0.0005)
    number += 1
"""


def kill_while_writing(folder: Path, durability: Durability, begin: int, after_s: float) -> int:
    """The number of the last write that was told."""
    command = [sys.executable, "-c", WRITER, str(folder), durability.value, str(begin)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        told = writer.stdout.readline()  # it has begun
        time.sleep(after_s)  # at any moment: this is what is tested, nothing waits for it
        writer.kill()
        told += writer.stdout.read()
    return int(told.splitlines()[-1])


def check(kv: KvGuild, last: int, is_first_unknown: bool) -> None:
    """Every key has what was last written to it; of the write after the last one told, either side of it."""
    for number in range(max(1, last - KEYS + 1), last + 1):
        key = f"k{number % KEYS}"
        entry = kv.get("s", key)
        may_be = {number, number + KEYS} if number + KEYS == last + 1 and is_first_unknown else {number}
        found = None if entry is None else entry.metadata
        assert found in {None if one % 11 == 0 else one for one in may_be}, key
        if entry is not None:
            text = f"{found} "
            assert entry.value.text == text * (VALUE_BYTES // len(text))


@pytest.mark.timeout(30 + 10 * ROUNDS)
@pytest.mark.parametrize("durability", Durability)
def test_given_a_process_killed_while_it_writes_when_opened_then_no_write_that_was_told_is_lost(
    tmp_path: Path, durability: Durability
) -> None:
    rng = random.Random(SEED)
    last = 0
    for round_number in range(ROUNDS):
        last = kill_while_writing(tmp_path, durability, last + 1, rng.uniform(0.005, 0.25))

        files = KvFiles(tmp_path)
        kv = files.open_guild(GuildId("1"))
        check(kv, last, is_first_unknown=True)
        after = kv.get("s", f"k{(last + 1) % KEYS}")
        if after is not None and after.metadata == last + 1:
            last += 1  # written, but killed before it could tell
        elif (last + 1) % 11 == 0 and after is None:
            last += 1
        assert kv.list("s").list_complete, f"round {round_number}, seed {SEED}"
        files.close()
