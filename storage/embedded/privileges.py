"""Which user the embedded servers run as, and how that user gets at the files.

Started by a normal user they run as that user. Started by root they must not (Postgres refuses, and rightly): they run
as a number that no account has. Our own folders let that number pass by their group. Where something above them is
closed to it, such as a checkout under /root, nobody's folders are changed; the servers keep one capability instead,
which lets them pass and read, not write.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from flora.messages.errors import ConfigError

SERVICE_ID = 65521  # as uid and gid; outside the ranges of accounts, of systemd's dynamic users and of `nobody`
CAP_DAC_READ_SEARCH = 2
CAP_DAC_OVERRIDE = 1  # what a container's root usually has instead; it lets write too, hence the second choice
NO_CAPABILITY = -1


@dataclass(frozen=True, slots=True)
class Identity:
    """User, group and at most one capability of a server. A uid of -1: the user that runs flora."""

    uid: int = -1
    gid: int = -1
    capability: int = NO_CAPABILITY

    @property
    def changes(self) -> bool:
        return self.uid >= 0

    def arguments(self) -> list[str]:
        """As child.py takes it."""
        return [str(self.uid), str(self.gid), str(self.capability)]


def service_identity(must_reach: Iterable[Path]) -> Identity:
    """Who the servers run as, able to reach these paths.

    Raises:
        ConfigError: root, and an unprivileged user cannot be made to reach them.
    """
    if os.geteuid() != 0:
        return Identity()
    return _reaching(SERVICE_ID, SERVICE_ID, must_reach)


def account_identity(must_reach: Iterable[Path]) -> Identity:
    """As `service_identity`, but one that has an account: initdb insists on a name for the user it runs as."""
    if os.geteuid() != 0:
        _check_own_account()
        return Identity()
    accounts = sorted(pwd.getpwall(), key=lambda entry: (entry.pw_name != "nobody", entry.pw_uid))
    for account in accounts:
        if account.pw_uid != 0:
            return _reaching(account.pw_uid, SERVICE_ID, must_reach)  # our folders let that group pass
    raise ConfigError(
        "the embedded Postgres cannot be made as root without any other account in /etc/passwd; add one, or set"
        " database.url (DATABASE_URL)"
    )


def _check_own_account() -> None:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise ConfigError(
            f"the embedded Postgres cannot be made by user {os.geteuid()}, who has no entry in /etc/passwd; add one, or"
            " set database.url (DATABASE_URL)"
        ) from None


def _reaching(uid: int, gid: int, must_reach: Iterable[Path]) -> Identity:
    closed = [(path, needed) for path in must_reach for needed in [_needed_capabilities(path, uid, gid)] if needed]
    if not closed:
        return Identity(uid, gid)
    held = _held_capabilities()
    for capability in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE):
        if held >> capability & 1 and all(capability in needed for _, needed in closed):
            return Identity(uid, gid, capability)
    path = closed[0][0]
    raise ConfigError(
        f"the embedded servers do not run as root, and no other user can reach {path}; put flora and its data folder"
        " where others may pass through, or set database.url (DATABASE_URL) and cache.url (CACHE_URL)",
        path=str(path),
    )


def _needed_capabilities(path: Path, uid: int, gid: int) -> set[int]:
    """Capabilities each of which is enough to pass to a folder or to run a program; empty: none is needed."""
    path = path.resolve()
    if path.is_file() and not _has_bits(path, uid, gid, stat.S_IROTH | stat.S_IXOTH):
        return {CAP_DAC_OVERRIDE}  # the other one opens folders and reads files, but runs none
    folders = path.parents if path.is_file() else (path, *path.parents)
    if all(_has_bits(folder, uid, gid, stat.S_IXOTH) for folder in folders):
        return set()
    return {CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE}


def _has_bits(path: Path, uid: int, gid: int, bits: int) -> bool:
    status = path.stat()
    if status.st_uid == uid:
        bits <<= 6
    elif status.st_gid == gid:
        bits <<= 3
    return status.st_mode & bits == bits


def _held_capabilities() -> int:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0  # not Linux
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)
