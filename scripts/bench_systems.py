"""What the chain benchmark measures: flora and two plain bots, each against a fresh simulated Discord, and how to start them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from flora.http.simulator.config import DEFAULT_APPLICATION_ID, DEFAULT_TOKEN
from flora.scripts import bootstrap
from flora.scripts.bench_processes import BenchFailed, Child, Sandbox, neutral_environment

PEERS: Final = Path(__file__).resolve().parent / "bench_peers"
START_LIMIT_S: Final = 60.0
CALL_LIMIT_S: Final = 120.0
FIRST_GUILD: Final = 900_000_000_000_000_001

_NO_PROXY: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(method: str, url: str, body: object = None, headers: dict[str, str] | None = None) -> Any:
    """One JSON request over loopback.

    Raises:
        OSError: no answer, or one that is not a success.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})}, method=method)
    with _NO_PROXY.open(request, timeout=CALL_LIMIT_S) as response:
        text = response.read()
    return json.loads(text) if text else None


class Discord:
    """A simulated Discord without rate limits, in memory, in a process of its own."""

    NAME: Final = "discord"

    def __init__(self, sandbox: Sandbox) -> None:
        command = [sys.executable, "-m", "flora.http.simulator", "--no-rate-limits", "--no-demo-guild"]
        child = sandbox.start(self.NAME, command, {"SPT_NOENV": "1"})
        facts = json.loads(child.line("base_url", START_LIMIT_S))
        self._url, self.api_base = facts["base_url"], facts["api_base"]
        self.guilds: list[str] = []
        self.channels: list[str] = []
        self.owner_id = ""

    def grow(self, guilds: int) -> list[str]:
        """Makes guilds with one channel each until there are so many; gives the new ones' ids."""
        new = [str(FIRST_GUILD + number) for number in range(len(self.guilds), guilds)]
        for guild_id in new:
            made = self.call("POST", "/sim/guilds", {"id": guild_id, "name": f"Guild {guild_id}"})
            self.channels.append(next(c["id"] for c in made["channels"] if c["type"] == 0))
            self.owner_id = made["owner_id"]
        self.guilds += new
        return new

    def call(self, method: str, path: str, body: object = None) -> Any:
        return call(method, self._url + path, body)

    def burst(self, **what: object) -> dict[str, Any]:
        """Messages of people over all channels in turn; see the simulator's `/sim/burst`. Counts anew."""
        self.call("DELETE", "/sim/stats")
        return dict(self.call("POST", "/sim/burst", {"channels": self.channels, **what}))

    def told_numbers(self) -> int:
        """Sum of the numbers that the bot said among the last four messages of each channel: two questions, two answers."""
        newest = [m for c in self.channels for m in self.call("GET", f"/sim/channels/{c}/messages?limit=4")]
        return sum(int(m["content"]) for m in newest if m["author"]["bot"] and m["content"].isdecimal())


class System(Protocol):
    """Something that answers `!ping` with "Pong!", counts other messages, and tells and clears the count on `!seen`."""

    name: str
    start_s: float

    def serve(self, guild_ids: list[str]) -> None:
        """Does what new guilds need; the first call comes after the first guild was made."""

    def pids(self) -> dict[int, str]:
        """Its processes and their names."""


class PlainBot:
    """A bot in one process, started by one command."""

    def __init__(self, name: str, command: list[str | Path], sandbox: Sandbox, discord: Discord) -> None:
        self.name = name
        self._sandbox = sandbox
        began = time.monotonic()
        environ = {"DISCORD_TOKEN": DEFAULT_TOKEN, "DISCORD_API_BASE": discord.api_base}
        child = sandbox.start(name, command, environ)
        child.line("ready", START_LIMIT_S)
        self.start_s = time.monotonic() - began

    def serve(self, guild_ids: list[str]) -> None:
        """It joins by itself."""

    def pids(self) -> dict[int, str]:
        return self._sandbox.pids(self.name)


class Flora:
    """The whole of flora on a fresh data folder, with its default settings but for the share of a guild."""

    def __init__(
        self,
        sandbox: Sandbox,
        discord: Discord,
        workers: int | None = None,
        *,
        script: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Starts it.

        Args:
            sandbox: Where it runs.
            discord: What it connects to.
            workers: None: its default.
            script: TypeScript for each guild; None: the bot of the benchmarks.
            environ: More settings.
        """
        self.name = "flora"
        self._sandbox, self._discord = sandbox, discord
        # With a token flora demands its secrets; these guard a folder that is gone in a moment.
        self._environ = {
            "DISCORD_TOKEN": DEFAULT_TOKEN,
            "DISCORD_API_BASE": discord.api_base,
            "DISCORD_CLIENT_ID": DEFAULT_APPLICATION_ID,
            "DISCORD_CLIENT_SECRET": "benchmark-client-secret",
            "API_SECRET": "benchmark" * 8,
            "SECRETS_MASTER_KEY": "0b" * 32,
            "API_ADDRESS": "127.0.0.1",
            # One guild may be asked for more than a fair share here.
            "RUNTIME_OPS_PER_SECOND": "0",
            "RUNTIME_CPU_SHARE_PERCENT": "0",
        }
        if workers is not None:
            self._environ["RUNTIME_MAX_WORKERS"] = str(workers)
        self._environ |= environ or {}
        self._headers: dict[str, str] = {}
        self._script = script if script is not None else (PEERS / "flora_bot.ts").read_text(encoding="utf-8")
        self._child, self.start_s = self._start()
        self.deploy_ms: list[float] = []

    def _start(self) -> tuple[Child, float]:
        began = time.monotonic()
        command: list[str | Path] = [Path(sys.executable).parent / "flora", "up", "--port", "0"]
        child = self._sandbox.start(self.name, command, self._environ)
        self._url = child.line("flora is ready on", START_LIMIT_S).split()[-1]
        return child, time.monotonic() - began

    def serve(self, guild_ids: list[str]) -> None:
        """Deploys the bot to each."""
        for guild_id in guild_ids:
            began = time.monotonic()
            self.deploy(guild_id, "main.ts", [{"path": "main.ts", "contents": self._script}])
            self.deploy_ms.append((time.monotonic() - began) * 1000)

    def deploy(self, guild_id: str, entry: str, files: list[dict[str, str]]) -> None:
        """Deploys a project to a guild.

        Raises:
            BenchFailed: flora refused it.
        """
        if not self._headers:
            self._headers = {"Authorization": f"Bearer {self._token()}"}
        body = {"entry": entry, "files": files}
        try:
            call("POST", f"{self._url}/api/deployments/{guild_id}", body, self._headers)
        except OSError as exc:
            raise BenchFailed(f"the deploy to guild {guild_id} failed: {exc}\n{self._child.last_words()}") from exc

    def _token(self) -> str:
        flora = Path(sys.executable).parent / "flora"
        done = subprocess.run(
            [str(flora), "token", "create", "--user", self._discord.owner_id, "--json"],
            cwd=self._sandbox.folder / self.name,
            env=neutral_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise BenchFailed(f"no API token: {done.stderr}")
        return str(json.loads(done.stdout)["token"])

    def api(self, path: str, headers: dict[str, str] | None = None) -> Any:
        """GET of the API, as the guilds' owner or with other headers."""
        return call("GET", f"{self._url}/api{path}", headers=headers or self._headers)

    def request(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Any:
        """Any other request to the API."""
        return call(method, f"{self._url}/api{path}", body, headers or self._headers)

    def stop(self) -> int | None:
        """Asks it to end; gives its exit code, or None: it had to be killed."""
        return self._sandbox.end(self._child)

    def restart(self) -> float:
        """Stops and starts it on the same data; gives the seconds until it is ready, its guilds restored."""
        self._sandbox.stop(self._child)
        self._child, took_s = self._start()
        return took_s

    def pids(self) -> dict[int, str]:
        return self._sandbox.pids(self.name)


def start_system(name: str, sandbox: Sandbox, discord: Discord, workers: int | None = None) -> System:
    """Starts flora or one of the bots.

    Args:
        name: `flora`, `flora untraced` (with traces switched off), `disnake` or `discord.js`.
        sandbox: Where it runs.
        discord: What it connects to.
        workers: For flora; None: its default.
    """
    match name:
        case "flora":
            return Flora(sandbox, discord, workers)
        case "flora untraced":
            return Flora(sandbox, discord, workers, environ={"TRACE_ENABLED": "false"})
        case "disnake":
            return PlainBot(name, [sys.executable, PEERS / "disnake_bot.py"], sandbox, discord)
        case _:
            return PlainBot(name, [bootstrap.node_and_npm()[0], PEERS / "discord_bot.js"], sandbox, discord)


def install_peers() -> None:
    """Installs what the discord.js bot needs, when that has not been done for this lock file.

    Raises:
        BenchFailed: npm failed, such as without a network.
    """
    lock, done = PEERS / "package-lock.json", PEERS / "node_modules" / ".installed-from"
    if done.is_file() and done.read_bytes() == lock.read_bytes():
        return
    print("installing discord.js …", file=sys.stderr)
    _, npm = bootstrap.node_and_npm()
    finished = bootstrap.run([*npm, "ci"], cwd=PEERS, environment=bootstrap.without_home())
    if finished.returncode != 0:
        raise BenchFailed(f"npm ci failed in {PEERS}:\n{finished.stdout[-2000:]}")
    done.write_bytes(lock.read_bytes())
