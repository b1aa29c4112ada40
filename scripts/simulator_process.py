"""The simulated Discord as a child of the launcher, started again when it dies."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from flora.http.simulator.config import DEFAULT_APPLICATION_ID, DEFAULT_TOKEN, SimulatorConfig
from flora.messages.errors import Unavailable
from flora.messages.settings import DiscordSettings, Settings

START_LIMIT_S = 20.0
STOP_LIMIT_S = 1.0
RESTART_PAUSE_S = 0.5

Progress = Callable[[str], None]


class SimulatorProcess:
    """Runs `python -m flora.http.simulator`. All methods on the launcher's main thread: the child ends with it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client_secret = settings.discord.client_secret or SimulatorConfig().client_secret
        self._process: subprocess.Popen[bytes] | None = None
        self._restart_at_s = 0.0
        self._port = 0
        self.url = ""
        self.api_base = ""

    def start(self, progress: Progress) -> None:
        """Starts it and waits until it listens.

        Raises:
            Unavailable: it ended or did not listen in time.
        """
        progress("starting the simulated Discord")
        facts = self._spawn()
        self._port, self.url, self.api_base = facts["port"], facts["base_url"], facts["api_base"]

    def _spawn(self) -> dict[str, Any]:
        read_fd, write_fd = os.pipe()
        command = [
            *(sys.executable, "-m", "flora.http.simulator", "--port", str(self._port)),
            *("--ready-fd", str(write_fd), "--data-dir", str(self._settings.data_dir)),
        ]
        environ = {**os.environ, "SPT_NOENV": "1"}
        environ |= {"DISCORD_TOKEN": DEFAULT_TOKEN, "DISCORD_CLIENT_ID": DEFAULT_APPLICATION_ID}
        environ["DISCORD_CLIENT_SECRET"] = self._client_secret
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            pass_fds=(write_fd,),
            env=environ,
            start_new_session=True,
        )
        os.close(write_fd)
        with os.fdopen(read_fd, "rb") as pipe:
            ready, _, _ = select.select([pipe], [], [], START_LIMIT_S)
            line = pipe.readline() if ready else b""
        if not line:
            raise Unavailable("the simulated Discord did not start; see its output above")
        return dict(json.loads(line))

    def discord_settings(self, discord: DiscordSettings) -> DiscordSettings:
        """The settings with which flora connects to it."""
        return replace(
            discord,
            bot_token=DEFAULT_TOKEN,
            client_id=DEFAULT_APPLICATION_ID,
            client_secret=self._client_secret,
            api_base=self.api_base,
            authorize_url=discord.authorize_url or f"{self.url}/oauth2/authorize",
            simulated=True,
        )

    def poll(self) -> None:
        """Starts it again, at the same port, when it has died. Returns at once otherwise."""
        if self._process is None or self._process.poll() is None:
            return
        now_s = time.monotonic()
        if self._restart_at_s == 0.0:
            self._restart_at_s = now_s + RESTART_PAUSE_S
        elif now_s >= self._restart_at_s:
            self._restart_at_s = 0.0
            with suppress(Unavailable):
                self._spawn()

    def stop(self) -> None:
        """Ends it, politely and then not."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
