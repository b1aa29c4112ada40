"""The whole system, started as a person starts it, in a folder of its own; what tests need to talk to it and to break it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from flora.actors.tracing import TRACES_FOLDER
from flora.storage.trace_files import TraceReader
from flora.storage.trace_record import TraceRecord

OPERATOR_SECRET = "only-for-the-tests"
READY = "flora is ready on "
BOOT_LIMIT_S = 60.0
STOP_LIMIT_S = 5.0
REQUEST_LIMIT_S = 40.0
POLL_S = 0.01
FLORA = (str(Path(sys.executable).with_name("flora")),)

JsonObject = dict[str, Any]


class Guild:
    """One guild of the simulated Discord, seen by a person who sits in its first channel."""

    def __init__(self, flora: RunningFlora, described: JsonObject) -> None:
        self.flora = flora
        self.id: str = described["id"]
        self.owner_id: str = described["owner_id"]
        self.channel_id: str = described["channels"][0]["id"]

    def say(self, content: str) -> str:
        """Writes a message; gives its id."""
        path = f"/sim/channels/{self.channel_id}/messages"
        return str(self.flora.sim("POST", path, {"content": content})["id"])

    def messages(self, after: str = "0") -> list[JsonObject]:
        """Messages in the channel, oldest first."""
        found: list[JsonObject] = self.flora.sim(
            "GET", f"/sim/channels/{self.channel_id}/messages?limit=1000&after={after}"
        )
        return found

    def said_by_bot(self, after: str = "0") -> list[str]:
        """What bots said in the channel, oldest first."""
        return [message["content"] for message in self.messages(after) if message["author"]["bot"]]

    def reply_to(self, message_id: str, within_s: float = 10.0) -> str:
        """The bot's reply to a message."""

        def look() -> str | None:
            for message in self.messages(message_id):
                if (message.get("message_reference") or {}).get("message_id") == message_id:
                    return str(message["content"])
            return None

        return str(wait_for(look, within_s, f"no reply to message {message_id} of guild {self.id}"))

    def ask(self, content: str, within_s: float = 10.0) -> str:
        """Writes a message and waits for the bot's reply to it."""
        return self.reply_to(self.say(content), within_s)

    def ask_until_answered(self, content: str, within_s: float) -> str:
        """Writes the message once a second until one of them is replied to: for times when events may be lost."""
        deadline = time.monotonic() + within_s
        while True:
            left_s = deadline - time.monotonic()
            try:
                return self.ask(content, within_s=min(1.0, max(0.1, left_s)))
            except AssertionError:
                if left_s <= 0:
                    raise

    def deploy(self, script: str, **more: Any) -> JsonObject:
        """Makes a finished script the guild's own; gives the API's answer."""
        return self.flora.api("POST", f"/deployments/{self.id}", {"entry": "main.js", "bundle": script, **more})

    def deploy_files(self, files: Mapping[str, str], entry: str = "main.ts") -> JsonObject:
        """Makes a project the guild's script."""
        listed = [{"path": path, "contents": contents} for path, contents in files.items()]
        return self.flora.api("POST", f"/deployments/{self.id}", {"entry": entry, "files": listed})

    def logs(self) -> list[JsonObject]:
        """Lines of the guild's log, oldest first."""
        found: list[JsonObject] = self.flora.api("GET", f"/logs/{self.id}?limit=1000")
        return found

    def traces(self) -> list[list[TraceRecord]]:
        """What was written down of the guild's events: the hops of each, as they began; of one moment, each after what it follows from."""
        found: dict[str, list[TraceRecord]] = {}
        for record in TraceReader(self.flora.folder / "data" / TRACES_FOLDER).records():
            if record.guild_id == self.id and record.kind == "event":
                found.setdefault(record.trace, []).append(record)
        return [_in_order(hops) for hops in found.values()]

    def log_line(self, text: str, within_s: float = 10.0) -> JsonObject:
        """The first log line that contains a text."""

        def look() -> JsonObject | None:
            return next((line for line in self.logs() if text in line["message"]), None)

        try:
            found: JsonObject = wait_for(look, within_s, f"no log line with {text!r} in guild {self.id}")
        except AssertionError as late:
            told = "\n".join(line["message"][:300] for line in self.logs()[-10:])
            raise AssertionError(f"{late}; its last lines:\n{told}") from None
        return found


class Refused(Exception):
    """The API or the simulator answered with an error status."""

    def __init__(self, status: int, body: JsonObject) -> None:
        super().__init__(f"{status}: {body.get('message')}")
        self.status = status
        self.body = body
        self.message = str(body.get("message"))


class RunningFlora:
    """`flora up` in a folder. `start` and `stop` may be called again: data stays."""

    def __init__(self, folder: Path, environ: Mapping[str, str], command: tuple[str, ...] = (*FLORA, "up")) -> None:
        self.folder = folder
        self._command = command
        self._settings = {"API_PORT": "0", "API_ADDRESS": "127.0.0.1", "API_OPERATOR_SECRET": OPERATOR_SECRET} | dict(
            environ
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.stdout_path, self.stderr_path = folder / "stdout", folder / "stderr"
        self.url = ""
        self.sim_url = ""
        self._token = ""

    # Life

    def start(self, within_s: float = BOOT_LIMIT_S) -> RunningFlora:
        """Starts the launcher and waits for its ready line."""
        self.spawn()
        self.url = self.await_ready(within_s).removeprefix(READY)
        self.sim_url = self._simulator_url()
        return self

    def spawn(self) -> None:
        """Starts the launcher and waits for nothing."""
        with self.stdout_path.open("wb") as out, self.stderr_path.open("wb") as err:
            self._process = subprocess.Popen(
                self._command, cwd=self.folder, env=self.environ(), stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    def environ(self) -> dict[str, str]:
        """The environment of everything that is started here."""
        return {**os.environ, "HOME": str(self.folder), **self._settings}

    def await_ready(self, within_s: float = BOOT_LIMIT_S) -> str:
        """The ready line."""

        def look() -> str | None:
            assert self.launcher.poll() is None, f"flora ended with {self.launcher.returncode}:\n{self.stderr_tail()}"
            return next((line for line in self.stdout_lines() if line.startswith(READY)), None)

        return str(wait_for(look, within_s, f"no ready line:\n{self.stderr_tail()}"))

    def _simulator_url(self) -> str:
        said = [line for line in self.stderr().splitlines() if line.startswith("simulated Discord: ")]
        return said[-1].split()[2] if said else ""

    def stop(self, number: int = signal.SIGINT, within_s: float = STOP_LIMIT_S) -> int:
        """Asks the launcher to end; gives its exit code.

        Raises:
            AssertionError: it did not end in time.
        """
        self.launcher.send_signal(number)
        return self.ended(within_s)

    def ended(self, within_s: float) -> int:
        """Waits for the launcher's end; gives its exit code.

        Raises:
            AssertionError: it did not end in time.
        """
        try:
            return self.launcher.wait(within_s * patience())
        except subprocess.TimeoutExpired:
            raise AssertionError(f"flora did not end within {within_s} s:\n{self.stderr_tail()}") from None

    def end(self) -> None:
        """End of a test: stops what runs, and nothing may be left. Whatever happens, nothing is."""
        try:
            if self._process is not None and self._process.poll() is None:
                assert self.stop() == 0, self.stderr_tail()
                wait_for(lambda: not self.processes(), 2.0, f"processes left behind: {self.processes()}")
        finally:
            self.destroy()

    def destroy(self) -> None:
        """Kills everything of this flora. For after a failure."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait(STOP_LIMIT_S)

    @property
    def launcher(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    # What it says

    def stdout_lines(self) -> list[str]:
        return self.stdout_path.read_text(encoding="utf-8").splitlines()

    def stderr(self) -> str:
        return self.stderr_path.read_text(encoding="utf-8", errors="replace")

    def logged(self) -> list[dict[str, Any]]:
        """The process log, which is JSON where nobody reads it at a terminal; what the launcher tells people is not among it."""
        return [json.loads(line) for line in self.stderr().splitlines() if line.startswith("{") and line.endswith("}")]

    def stderr_tail(self, lines: int = 40) -> str:
        """The last lines that are not about single requests, of which tests make hundreds."""
        told = (line for line in self.stderr().splitlines() if '"action":"http_request"' not in line)
        return "\n".join(list(told)[-lines:])

    # Its processes

    def processes(self) -> dict[int, str]:
        """Its living processes by id, each with its title. All of them work in its folder or below."""
        return {pid: title for pid, title in _living() if _works_below(pid, self.folder)}

    def pid(self, title: str) -> int:
        """The process of an actor, such as "worker 0"."""
        found = [pid for pid, name in self.processes().items() if name == f"flora: {title}"]
        assert len(found) == 1, f"{title}: {found} among {self.processes()}"
        return found[0]

    def server_pid(self, program: str) -> int:
        """The main process of an embedded server, `postgres` or `valkey-server`."""
        found = self._servers(program)
        assert found, f"{program} not among {self.processes()}"
        return min(found, key=_started_at)

    def has_server(self, program: str, *, other_than: int) -> bool:
        """Whether an embedded server runs again."""
        found = self._servers(program)
        return bool(found) and other_than not in found

    def _servers(self, program: str) -> list[int]:
        return [pid for pid, title in self.processes().items() if Path(title.partition(" ")[0]).name == program]

    def kill(self, title: str) -> int:
        """`kill -9` of an actor's process; gives its id."""
        pid = self.pid(title)
        os.kill(pid, signal.SIGKILL)
        return pid

    # Talking to it

    def sim(self, method: str, path: str, body: JsonObject | None = None) -> Any:
        """A request to the simulated Discord's control API."""
        return _request(method, self.sim_url + path, body, {})

    def api(self, method: str, path: str, body: JsonObject | None = None, token: str = "") -> Any:
        """A request to flora's API, as the owner of all guilds or with another token."""
        return _request(method, f"{self.url}/api{path}", body, {"Authorization": f"Bearer {token or self.token}"})

    def metrics(self) -> dict[str, float]:
        """GET /api/metrics/json."""
        headers = {"Authorization": f"Bearer {OPERATOR_SECRET}"}
        found: dict[str, float] = _request("GET", f"{self.url}/api/metrics/json", None, headers)
        return found

    def guild_status(self) -> dict[str, JsonObject]:
        """GET /api/guilds/status, by guild."""
        headers = {"Authorization": f"Bearer {OPERATOR_SECRET}"}
        found = _request("GET", f"{self.url}/api/guilds/status", None, headers)
        return {facts["guild_id"]: facts for facts in found}

    def scrape(self) -> str:
        """GET /api/metrics."""
        request = urllib.request.Request(f"{self.url}/api/metrics")
        request.add_header("Authorization", f"Bearer {OPERATOR_SECRET}")
        with urllib.request.urlopen(request, timeout=REQUEST_LIMIT_S) as response:
            return str(response.read().decode())

    def unlimited(self) -> None:
        """Turns Discord's rate limits off, for tests that send much."""
        self.sim("POST", "/sim/settings", {"rate_limits": False})

    @property
    def token(self) -> str:
        """An API token of the guilds' owner, made on the host by the command line."""
        if not self._token:
            owner_id = self.sim("GET", "/sim/guilds")[0]["owner_id"]
            done = self.cli("token", "create", "--user", owner_id, "--json")
            assert done.returncode == 0, done.stderr
            self._token = json.loads(done.stdout)["token"]
        return self._token

    def cli(self, *args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a flora command in the folder, logged in through the environment."""
        environ = self.environ() | {"FLORA_API_URL": f"{self.url}/api", "FLORA_TOKEN": self._token}
        return subprocess.run(
            [*FLORA, *args],
            cwd=cwd or self.folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    # Guilds

    def first_guild(self) -> Guild:
        """The guild that is there from the start, with its starter bot."""
        guild = Guild(self, self.sim("GET", "/sim/guilds")[0])
        wait_for(lambda: _deployed(guild), BOOT_LIMIT_S, "no starter in the first guild")
        return guild

    def new_guild(self, guild_id: str | None = None) -> Guild:
        """A new guild whose starter bot has been deployed."""
        return self.new_guilds([guild_id])[0]

    def new_guilds(self, ids: list[str | None], within_s: float = 30.0) -> list[Guild]:
        """New guilds, each with its starter bot: what comes later is not mixed up with that first deploy."""
        made = [self.sim("POST", "/sim/guilds", {"id": guild_id} if guild_id else {}) for guild_id in ids]
        guilds = [Guild(self, described) for described in made]
        with ThreadPoolExecutor(8) as pool:
            list(
                pool.map(
                    lambda guild: wait_for(lambda: _deployed(guild), within_s, f"no starter in {guild.id}"), guilds
                )
            )
        return guilds


def _in_order(hops: list[TraceRecord]) -> list[TraceRecord]:
    parents = {hop.span: hop.parent for hop in hops}

    def depth(hop: TraceRecord) -> int:
        span, found = hop.parent, 0
        while span in parents and found < len(hops):
            span, found = parents[span], found + 1
        return found

    return sorted(hops, key=lambda hop: (hop.at_us, depth(hop), -hop.took_us))


def patience() -> float:
    """How many times longer than alone something may take now: how many processes want each core, and at least once."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def wait_for(condition: Callable[[], Any], within_s: float, what: str) -> Any:
    """The first truthy value of a condition.

    Args:
        condition: Asked again and again.
        within_s: On a machine that does nothing else; see `patience`.
        what: Goes into the error.
    Raises:
        AssertionError: there was none in time; says `what`.
    """
    deadline = time.monotonic() + within_s * patience()
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(POLL_S)
    return value


def _deployed(guild: Guild) -> bool:
    try:
        guild.flora.api("GET", f"/deployments/{guild.id}")
    except Refused as refused:
        if refused.status in {404, 403, 503}:
            return False
        raise
    return True


def _request(method: str, url: str, body: JsonObject | None, headers: Mapping[str, str]) -> Any:
    data = None if body is None else json.dumps(body).encode()
    kind = {} if body is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, {**kind, **headers}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_LIMIT_S) as response:
            text = response.read()
    except urllib.error.HTTPError as error:
        with error:
            raise Refused(error.code, json.loads(error.read() or b"{}")) from None
    return json.loads(text) if text else None


def _living() -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
            if state not in {"Z", "X"}:
                yield (
                    int(entry.name),
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip(),
                )


def _works_below(pid: int, folder: Path) -> bool:
    try:
        place = Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return False
    return place == folder or folder in place.parents


def _started_at(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19])
