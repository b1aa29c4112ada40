"""The data folder: one owner at a time, and where in it the embedded servers live.

<data_dir>/flora.lock          held by the running copy; its lines are that copy's pid and, when it serves, its URL
<data_dir>/secrets/            made by flora.storage.secret_files
<data_dir>/services/postgres/  cluster and its passwords, made whole or not at all
<data_dir>/services/valkey/    append-only file
<data_dir>/services/run/       sockets; elsewhere when this path is too long for a socket
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from flora.messages.errors import ConfigError, Conflict
from flora.storage.embedded.privileges import Identity

LONGEST_SOCKET_PATH = 107  # bytes; struct sockaddr_un on Linux, without the closing zero
LONGEST_SOCKET_NAME = ".s.PGSQL.5432"
RETRY_EVERY_S = 0.05


class DataFolder:
    """A data folder that this process owns until `close`, or until it and every process forked from it are gone."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock: int | None = lock
        self._short_run: Path | None = None

    @classmethod
    def open(cls, path: Path, *, wait_s: float = 10.0) -> DataFolder:
        """Makes the folder if it is missing, and takes the lock.

        A lock whose owner has just died may still be held by what it started; that is waited for, up to `wait_s`.

        Raises:
            Conflict: another copy runs on this folder; `details["pid"]` says which.
            ConfigError: the folder cannot be made or written.
        """
        path = path.resolve()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(path / "flora.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise ConfigError(f"the data folder {path} cannot be used: {exc.strerror}", path=str(path)) from exc
        try:
            _take(lock, path, time.monotonic() + wait_s)
        except BaseException:
            os.close(lock)
            raise
        return cls(path, lock)

    @property
    def services(self) -> Path:
        return self.path / "services"

    def make_run_folder(self, identity: Identity) -> Path:
        """Folder for sockets, private to `identity`, with a path short enough for them."""
        run = self.services / "run"
        if len(os.fsencode(run / LONGEST_SOCKET_NAME)) > LONGEST_SOCKET_PATH:
            run = self._short_run = _short_folder(self.path, identity)
        own_folder(run, identity)
        return run

    def announce(self, url: str) -> None:
        """Lets others on this host know where this copy serves: see `announced`."""
        assert self._lock is not None
        os.pwrite(self._lock, f"{os.getpid()}\n{url}\n".encode(), 0)

    def close(self) -> None:
        if self._lock is not None:
            if self._short_run is not None:
                shutil.rmtree(self._short_run, ignore_errors=True)
            os.close(self._lock)
            self._lock = None


def announced(data_dir: Path) -> str | None:
    """URL of the copy that runs on this data folder; None: none does, or it does not serve yet."""
    try:
        with (data_dir / "flora.lock").open("rb") as lock:
            lines = lock.read(1024).decode(errors="replace").splitlines()
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return lines[1] if len(lines) > 1 else None
    except OSError:
        pass
    return None


def own_folder(path: Path, identity: Identity) -> None:
    """Makes a folder that only `identity` may use."""
    path.mkdir(mode=0o700, exist_ok=True)
    if identity.changes:
        os.chown(path, identity.uid, identity.gid)
    path.chmod(0o700)


def pass_through_folder(path: Path, identity: Identity) -> None:
    """Makes a folder of our own that `identity` may pass through, by its group, but not look into."""
    path.mkdir(mode=0o700, exist_ok=True)
    mode = stat.S_IMODE(path.stat().st_mode)
    if identity.changes and not mode & stat.S_IXOTH:
        os.chown(path, -1, identity.gid)
        path.chmod(mode | stat.S_IXGRP)


def _take(lock: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _owner(lock)
            if time.monotonic() > deadline or (pid is not None and _is_alive(pid)):
                who = f"pid {pid}" if pid else "pid unknown"
                raise Conflict(
                    f"flora is already running on the data folder {path} ({who}); stop that one, or set data_dir"
                    " (FLORA_DATA_DIR) to another folder",
                    pid=pid,
                    path=str(path),
                ) from None
            time.sleep(RETRY_EVERY_S)
        else:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            return


def _owner(lock: int) -> int | None:
    with suppress(ValueError):
        return int(os.pread(lock, 32, 0).split(b"\n")[0])
    return None  # it has the lock and is about to write its pid


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _short_folder(data_dir: Path, identity: Identity) -> Path:
    """A folder in a temporary place, the same for the same data folder, that nobody else can have prepared for us."""
    name = f"flora-{os.getuid()}-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]}"
    bases = [os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"]
    for base in bases:
        folder = Path(base or "/nonexistent") / name
        if len(os.fsencode(folder / LONGEST_SOCKET_NAME)) > LONGEST_SOCKET_PATH or not os.access(
            folder.parent, os.W_OK
        ):
            continue
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.getuid(), identity.uid}:
            raise ConfigError(f"{folder} belongs to somebody else; set data_dir to a shorter path", path=str(folder))
        return folder
    raise ConfigError("no folder with a path short enough for a socket was found; set data_dir to a shorter path")
