"""Boot: the order, what is brought back, and what happens when something is missing or broken."""

from __future__ import annotations

import json
import re
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
import pytest

from flora.scripts.cli.tokens import _embedded_url

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(90)]

ECHO = "on('messageCreate', async (msg) => { if (!msg.author.bot) await msg.reply('%s ' + msg.content) })"


@pytest.mark.scenario("T01", "T03", "T07")
def test_given_stored_deployments_of_which_one_throws_when_started_again_then_the_others_answer_without_a_deploy(
    make_flora,
):
    flora = make_flora({"RUNTIME_MAX_WORKERS": "4"}).start()
    guilds = flora.new_guilds([None] * 3)
    for number, guild in enumerate(guilds):
        guild.deploy(ECHO % f"guild {number}")
    assert flora.stop() == 0
    assert flora.processes() == {}

    flora.start()
    _change_stored_script(flora, guilds[1], "throw new Error('broken on purpose')")
    assert flora.stop() == 0
    flora.start()

    told = [line["message"] for line in flora.logged() if line["process"] == "runtime"]
    booted = [text.removeprefix("booting: ") for text in told if text.startswith("booting: ")]
    assert booted[: booted.index("cron") + 1] == [
        "http", "database", "cache", "log book", "router", "worker 0", "worker 1", "worker 2", "worker 3",
        "compiler", "deployer", "discord REST", "deployments", "gateway", "cron",
    ]  # fmt: skip
    assert "restored 3 deployments, 1 failed" in flora.stderr()
    assert [guilds[0].ask("hello"), guilds[2].ask("hello")] == ["guild 0 hello", "guild 2 hello"]
    metrics = flora.metrics()
    assert metrics["runtime_restarts"] == 4
    assert metrics["guild_routes"] == 3, "two of ours and the one that is there from the start"
    assert metrics["isolate_count"] == 4 + metrics["guild_routes"]
    unheard = guilds[1].say("hello")
    assert guilds[0].ask("again") == "guild 0 again"
    assert guilds[1].said_by_bot(unheard) == []
    assert guilds[1].id in [line.get("guild_id") for line in flora.logged()]
    assert "broken on purpose" in flora.stderr()
    guilds[1].deploy(ECHO % "repaired")
    assert guilds[1].ask("hello") == "repaired hello"


def _change_stored_script(flora, guild, script: str) -> None:
    """As if the script had become another one, without a deploy that would have refused it."""
    with psycopg.connect(_embedded_url(flora.folder / "data")) as connection:
        changed = connection.execute("UPDATE deployments SET bundle = %s WHERE guild_id = %s", (script, guild.id))
        assert changed.rowcount >= 1


@pytest.mark.scenario("T06")
def test_given_stored_scripts_that_hang_at_load_when_booting_then_nobody_waits_and_they_are_reported_after_the_limit(
    make_flora, wait_for
):
    flora = make_flora({"RUNTIME_MAX_WORKERS": "1", "RUNTIME_LOAD_TIMEOUT_SECS": "8"}).start()
    guilds = flora.new_guilds([None] * 4)
    for number, guild in enumerate(guilds):
        guild.deploy(ECHO % f"guild {number}")
    _change_stored_script(flora, guilds[0], "while (true) {}")
    _change_stored_script(flora, guilds[1], "await new Promise((done) => setTimeout(done, 600000))")
    assert flora.stop() == 0

    flora.start()

    assert "restored 3 deployments, 2 still loading" in flora.stderr()
    assert "module_load timed out" not in flora.stderr(), "the boot waited for them"
    assert [guilds[2].ask("hello"), guilds[3].ask("hello")] == ["guild 2 hello", "guild 3 hello"]
    for guild in guilds[:2]:
        assert guild.log_line("module_load timed out", within_s=20)["level"] == "error"
        failed = f"Failed to load deployment for guild {guild.id}"
        wait_for(lambda failed=failed: failed in flora.stderr(), 5, f"nobody said: {failed}")
    guilds[0].deploy(ECHO % "repaired")
    assert guilds[0].ask("hello") == "repaired hello"


BREAKS_THE_SDK = """
import sys
from flora.actors import sdk_files
whole = sdk_files.sdk_text
sdk_files.sdk_text = lambda name: "throw new Error('the SDK is broken')" if name == "sdk.js" else whole(name)
from flora.scripts.cli.main import main
if __name__ == "__main__":
    sys.exit(main())
"""


@pytest.mark.scenario("T04")
def test_given_an_sdk_that_fails_to_load_when_booting_then_it_is_logged_and_the_boot_continues(
    make_flora, tmp_path, refused
):
    program = tmp_path / "flora_with_broken_sdk.py"
    program.write_text(BREAKS_THE_SDK)
    flora = make_flora({"RUNTIME_MAX_WORKERS": "1"}, command=(sys.executable, str(program), "up")).start()

    assert [line for line in flora.logged() if line["level"] == "error" and "the SDK is broken" in line["message"]]
    guild_id = flora.sim("GET", "/sim/guilds")[0]["id"]
    with pytest.raises(refused, match="the SDK is broken"):
        flora.api("POST", f"/deployments/{guild_id}", {"entry": "main.js", "bundle": ECHO % "never"})
    assert flora.metrics()["guild_routes"] == 0


@pytest.mark.scenario("T08")
def test_given_redis_that_is_down_at_first_when_booting_then_it_tries_with_growing_delay_and_comes_up(
    make_flora, embedded_services, tmp_path, wait_for
):
    socket = tmp_path / "valkey.sock"
    flora = make_flora({"CACHE_URL": f"unix://{socket}", "RUNTIME_MAX_WORKERS": "1"})
    flora.spawn()
    wait_for(lambda: len(_delays(flora)) >= 3, 30.0, "no third try")
    told = re.search(r"listening on 127.0.0.1 port ([0-9]+); starting", flora.stderr())
    base = f"http://127.0.0.1:{told[1]}/api" if told else ""
    assert _get(f"{base}/health") == (200, "ok", None)
    status, body, retry_after = _get(f"{base}/ready")
    assert (status, retry_after) == (503, "1")
    assert json.loads(body) == {"ready": False, "stage": "cache", "progress": {"step": 3, "steps": 13}}
    for path in ("/deployments", "/logs/1", "/metrics/json"):
        assert _get(f"{base}{path}")[::2] == (503, "2"), path
    assert 'flora_up{actor="router"} 0.0\n' in _get(f"{base}/metrics")[1]

    real = Path(unquote(urlsplit(embedded_services.cache_url).path))
    assert real.is_socket()
    socket.symlink_to(real)

    flora.await_ready()
    delays = _delays(flora)
    assert delays[2] > delays[0]
    assert _get(f"{base}/ready") == (200, '{"ready":true,"stage":"ready"}', None)


def _get(url: str) -> tuple[int, str, str | None]:
    """Status, body and Retry-After."""
    request = urllib.request.Request(url, headers={"Authorization": "Bearer only-for-the-tests"})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode(), response.headers["Retry-After"]
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode(), refusal.headers["Retry-After"]


def _delays(flora) -> list[float]:
    """Pauses between attempts that the boot told of, in seconds."""
    return [float(found) for found in re.findall(r"waiting for Redis at .* next in ([0-9.]+) s", flora.stderr())]


@pytest.mark.scenario("T40b")
def test_given_a_new_session_then_ready_reaches_every_isolate_also_when_one_fails(flora, wait_for):
    guilds = flora.new_guilds([None] * 4)
    guilds[0].deploy("on('ready', async () => { throw new Error('not me') })")
    for guild in guilds[1:]:
        guild.deploy("on('ready', async (event) => { console.log('ready as ' + event.user.username) })")

    flora.sim("POST", "/sim/sessions/disconnect", {"mode": "invalid"})

    with ThreadPoolExecutor(3) as pool:
        told = list(pool.map(lambda guild: guild.log_line("ready as ", within_s=20), guilds[1:]))
    assert {line["level"] for line in told} == {"info"}
    assert guilds[0].log_line("not me")["message"].startswith("broadcast failed: ")
