"""Who has which guild, as the operating system sees it: whether each guild is active once, and its key-value files have one owner.

Asks nobody: it reads the flight recorders of workers (one entry per isolate that lives) and the kernel's list of file locks. For tests and
long runs, also while the router is dead; Linux only. During a move a guild has two isolates, of which one is frozen, and a guild that is
loaded anew has two for a moment: so what is asked is whether there are no problems after a while.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from flora.actors.isolate.progress import read_recorder
from flora.actors.kv.backends import STORES_FOLDER

_RECORDER = re.compile(r"worker-(\d+)-[0-9a-f]+\.recorder")
_LOCKS = Path("/proc/locks")


def isolates(data_dir: Path) -> dict[str, list[int]]:
    """Per guild, the worker of each isolate it has."""
    found: dict[str, list[int]] = {}
    for path in sorted((data_dir / "run").glob("worker-*.recorder")):
        matched = _RECORDER.fullmatch(path.name)
        for entry in read_recorder(path) if matched else ():
            if entry.name:
                found.setdefault(entry.name, []).append(int(matched[1]) if matched else -1)
    return found


def store_owners(data_dir: Path) -> dict[str, list[int]]:
    """Per guild, the processes that have its key-value files open under their lock."""
    by_inode = _lock_holders()
    found: dict[str, list[int]] = {}
    for path in (data_dir / STORES_FOLDER).glob("g-*/lock"):
        about = path.stat()
        holders = by_inode.get((os.major(about.st_dev), os.minor(about.st_dev), about.st_ino), [])
        if holders:
            found[path.parent.name.removeprefix("g-")] = holders
    return found


def problems(data_dir: Path, guilds: Iterable[str]) -> list[str]:
    """What is wrong with these guilds, one sentence each; all of them are to run.

    Args:
        data_dir: Of a running flora.
        guilds: Ids of guilds that have a script.
    """
    found = []
    have = isolates(data_dir)
    for guild_id in guilds:
        workers = have.get(guild_id, [])
        if len(workers) != 1:
            found.append(f"guild {guild_id} has {len(workers)} isolates: in workers {workers}")
    for guild_id, pids in store_owners(data_dir).items():
        titles = [_title(pid) for pid in pids]
        homes = [f"flora: worker {worker}" for worker in have.get(guild_id, [])]
        if len(titles) != 1 or (homes and titles != homes):
            found.append(f"stores of guild {guild_id} are owned by {titles}, its isolates are in {homes}")
    return found


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return f"process {pid}, which is gone"


def _lock_holders() -> dict[tuple[int, int, int], list[int]]:
    """By (major, minor, inode): processes that hold an exclusive lock."""
    holders: dict[tuple[int, int, int], list[int]] = {}
    for line in _LOCKS.read_text().splitlines():
        fields = line.split()
        if "->" in fields or fields[1] != "FLOCK":  # an arrow: it only waits
            continue
        major, minor, inode = fields[5].split(":")
        holders.setdefault((int(major, 16), int(minor, 16), int(inode)), []).append(int(fields[4]))
    return holders
