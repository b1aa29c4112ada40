"""Ten incidents. What happened, to whom, where and why: an operator finds out with `flora trace` and `flora logs` alone."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from flora.actors.wire import SignedPickle

pytestmark = [pytest.mark.service, pytest.mark.fault, pytest.mark.timeout(60)]

SETTINGS = {
    "RUNTIME_MAX_WORKERS": "2",
    "RUNTIME_DISPATCH_TIMEOUT_SECS": "20",
    "RUNTIME_CPU_BURST_MS": "100",
    "RUNTIME_CPU_SHARE_PERCENT": "25",
    "TRACE_SLOW_MS": "300",
}

SCRIPT = """
const sleep = (ms) => new Promise((done) => setTimeout(done, ms))
on('messageCreate', async (msg) => {
  if (msg.author.bot) return
  const [what, ms] = msg.content.split(' ')
  if (what === 'stay') { await msg.reply('staying'); await sleep(15000) }
  if (what === 'sleep') await sleep(Number(ms))
  if (what === 'burn') { let sum = 0; for (let i = 0; i < 2e8; i++) sum += i % 7; console.log(sum) }
  if (what === 'react') for (const emoji of ['1️⃣', '2️⃣', '3️⃣', '4️⃣'])
    await rest.addReaction({ channelId: msg.channelId, messageId: msg.id, emoji })
  await msg.reply('done ' + msg.content)
})
"""
EVERY_SECOND = "cron('tick', '* * * * * *', () => {})"

BACK_WITHIN_S = 15.0
TOLD_WITHIN_S = 10.0


class Operator:
    """Somebody with a shell on the host, and nothing but the command line."""

    def __init__(self, flora: Any, wait_for: Callable[..., Any]) -> None:
        self._flora = flora
        self._wait_for = wait_for

    def types(self, *args: str) -> str:
        done = self._flora.cli(*args)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    def finds(self, *filters: str) -> list[str]:
        """The lines of `flora trace list`, newest first, as soon as there are any."""
        listed = self._wait_for(lambda: self.types("trace", "list", *filters), TOLD_WITHIN_S, f"no trace: {filters}")
        return str(listed).splitlines()

    def asks(self, *filters: str) -> str:
        """What `flora trace show` says of the newest trace that the filters find."""
        return self.shows(self.finds(*filters)[0])

    def shows(self, line: str) -> str:
        return self.types("trace", "show", line.rsplit(maxsplit=1)[-1])


@pytest.fixture
def operator(broken_flora: Any, wait_for: Callable[..., Any]) -> Operator:
    return Operator(broken_flora, wait_for)


@pytest.fixture
def guild(broken_flora: Any) -> Any:
    made = broken_flora.new_guild()
    made.deploy(SCRIPT)
    return made


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def assert_says(told: str, *parts: str) -> None:
    missing = [part for part in parts if part not in " ".join(told.split())]
    assert not missing, f"{missing} not in:\n{told}"


def test_given_a_slow_handler_when_its_event_is_looked_for_then_guild_worker_and_handler_are_named(guild, operator):
    guild.ask("sleep 600")

    told = operator.asks("--guild", guild.id, "--kind", "event", "--slower-than", "500ms")

    assert_says(told, f"messageCreate of guild {guild.id}: ok", "gateway.receive", "router.done")
    assert re.search(r"worker \d .*isolate\.run .* [6-9]\d\d ms$", told, re.MULTILINE), told


def test_given_a_killed_worker_then_what_ran_died_there_what_came_was_held_and_the_repair_is_there_to_see(
    broken_flora, guild, operator
):
    guild.reply_to(guild.say("stay"))
    host = f"worker {json.loads(operator.types('status', guild.id, '--json'))['worker']}"

    broken_flora.kill(host)
    guild.ask("meanwhile", BACK_WITHIN_S)

    died = operator.asks("--guild", guild.id, "--kind", "event", "--outcome", "died")
    assert_says(
        died, f"messageCreate of guild {guild.id}: died", host, "its worker died while it was running", "signal 9"
    )
    held = operator.asks("--guild", guild.id, "--kind", "event", "--event", "router.hold")
    assert_says(held, f"messageCreate of guild {guild.id}", "router.hold", "held", "isolate.run")
    repair = operator.asks("--guild", guild.id, "--event", "process.end")
    assert_says(repair, host, "its process ended: signal 9", "process.start", "LoadIsolate")
    assert_says(operator.types("logs", "--guild", guild.id), "the worker died while messageCreate was running")


def test_given_calls_that_discord_limits_then_the_event_says_which_and_how_long_they_waited_for_that(
    broken_flora, guild, operator
):
    broken_flora.sim("POST", "/sim/settings", {"rate_limits": True})
    try:
        guild.ask("react")
    finally:
        broken_flora.unlimited()

    told = operator.asks("--guild", guild.id, "--kind", "event", "--slower-than", "300ms")

    assert_says(told, f"messageCreate of guild {guild.id}", "rest PUT /channels/{id}/messages/{id}/react")
    assert re.search(r"rate limit wait [1-9]\d+ ms", told), told


def test_given_more_events_than_a_guild_can_take_then_a_dropped_one_says_so_and_the_guilds_log_warns(
    broken_flora, guild, operator
):
    burst = {"channels": [guild.channel_id], "count": 4500, "content": "sleep 12000"}
    broken_flora.sim("POST", "/sim/burst", burst)

    told = operator.asks("--guild", guild.id, "--outcome", "shed")

    assert_says(told, f"messageCreate of guild {guild.id}: shed", "router.wait", "too many events are waiting")
    assert_says(operator.types("logs", "--guild", guild.id), "events are being dropped: too many are waiting")
    broken_flora.api("DELETE", f"/deployments/{guild.id}")


def test_given_a_guild_without_processor_budget_then_what_waited_for_that_says_so_and_the_log_how_much_it_was(
    guild, operator, wait_for
):
    guild.say("burn")
    guild.ask("next")

    def waited() -> list[str]:
        traces = operator.finds("--guild", guild.id, "--kind", "event", "--slower-than", "300ms")
        return [told for told in map(operator.shows, traces) if "processor budget" in told]

    found = wait_for(waited, TOLD_WITHIN_S, "no event that waited for its guild's processor budget")
    assert_says(
        found[0], f"messageCreate of guild {guild.id}", "isolate.run", "the guild's processor budget was used up"
    )
    assert_says(operator.types("logs", "--guild", guild.id), "processor budget used up", "new events and timers wait")


def test_given_a_deploy_that_fails_then_its_trace_names_the_step_and_the_authors_line(guild, operator, refused):
    with pytest.raises(refused):
        guild.deploy_files({"main.ts": "const a: number = 1\nthrow new Error('no luck')\n"})

    told = operator.asks("--guild", guild.id, "--kind", "http", "--outcome", "LOAD_FAILED")

    assert_says(
        told, f"of guild {guild.id}: LOAD_FAILED", "deployment failed: Error: no luck (main.ts:2:7)", "status 400"
    )
    steps = {name: line for line in told.splitlines() if (name := _step(line))}
    assert "LOAD_FAILED" not in steps["deploy.compile"]
    assert "LOAD_FAILED" in steps["deploy.load"]
    assert "deploy.store" not in steps


def _step(line: str) -> str:
    found = re.search(r"deploy\.\w+", line)
    return found[0] if found else ""


def test_given_a_redis_that_does_not_answer_then_a_login_that_failed_says_so_and_events_go_on(
    broken_flora, guild, operator
):
    with frozen(broken_flora.server_pid("valkey-server")):
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{broken_flora.url}/api/auth/login", timeout=10)
        assert guild.ask("still there") == "done still there"

    told = operator.asks("--kind", "http", "--outcome", "UNAVAILABLE", "--event", "*auth/login*")

    assert_says(told, "http GET /api/auth/login: UNAVAILABLE", "Redis is not available", "status 503")


def test_given_a_clock_that_stood_still_then_a_late_run_says_how_late_and_why(broken_flora, guild, operator, wait_for):
    guild.deploy(EVERY_SECOND)
    operator.finds("--guild", guild.id, "--kind", "cron")

    due_s = time.monotonic() + 2.2  # two times pass in any case
    with frozen(broken_flora.pid("cron")):
        wait_for(lambda: time.monotonic() > due_s, 5, "time stands still")
    told = operator.asks("--guild", guild.id, "--kind", "cron", "--outcome", "late")

    assert_says(told, f"tick of guild {guild.id}: late", "cron.due", "cron came late", "isolate.run")
    broken_flora.api("DELETE", f"/deployments/{guild.id}")


def test_given_a_forged_packet_then_it_is_told_who_refused_it_why_and_who_sent_it(broken_flora, operator):
    forged = SignedPickle(b"w" * 32).dumps("anything")
    ports = _ports_of(broken_flora.pid("router"))
    senders = [_send(port, b"%d>" % len(forged) + forged) for port in ports]

    told = "\n".join(map(operator.shows, operator.finds("--kind", "refused")))

    assert_says(told, "packet: refused", "wrong signature", "router", f"bytes {len(forged)}")
    assert any(f"peer {sender}" in told for sender in senders), told


def test_given_a_killed_gateway_then_what_came_meanwhile_says_why_it_was_late_and_the_repair_is_there_to_see(
    broken_flora, guild, operator
):
    guild.ask("before")

    broken_flora.kill("gateway")
    guild.reply_to(guild.say("meanwhile"), BACK_WITHIN_S)

    traces = operator.finds("--guild", guild.id, "--kind", "event")
    late = [told for told in map(operator.shows, traces) if "the gateway died" in told]
    assert late, traces
    assert_says(
        late[0], f"messageCreate of guild {guild.id}: ok", "gateway.receive", "had Discord send it again", "isolate.run"
    )
    repair = operator.asks("--event", "process.end", "--since", "1m")
    assert_says(repair, "gateway process.end", "its process ended", "process.start")


def _send(port: int, packet: bytes) -> str:
    """Sends a packet until the connection is closed; gives the address it came from."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        host, own_port = connection.getsockname()
        connection.sendall(packet)
        with suppress(OSError):
            while connection.recv(4096):
                pass
    return f"{host}:{own_port}"


def _ports_of(pid: int) -> list[int]:
    """What a process listens on."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="utf-8").splitlines()[1:]]
    listening = {f"socket:[{row[9]}]": int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found.append(listening.get(str(entry.readlink()), 0))
    return [port for port in found if port]
