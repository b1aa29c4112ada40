"""Deploys as their author sees them: what is refused and with which words, and what runs afterwards."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from flora.scripts.cli.tokens import _embedded_url

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(60)]

MAX_BYTES = 100_000  # RUNTIME_MAX_SCRIPT_BYTES of the shared flora
ECHO = "on('messageCreate', async (msg) => { if (!msg.author.bot) await msg.reply('%s ' + msg.content) })\n"


@pytest.mark.scenario("T14")
def test_given_ten_deploys_with_an_event_after_each_then_each_is_answered_by_its_own_script(flora):
    guild = flora.new_guild()
    guild.deploy(ECHO % "round 0")
    before = flora.metrics()

    for number in range(1, 10):
        assert guild.ask("who?") == f"round {number - 1} who?"
        guild.deploy(ECHO % f"round {number}")
    assert guild.ask("who?") == "round 9 who?"

    after = flora.metrics()
    assert after["isolate_restarts"] - before["isolate_restarts"] == 9
    assert after["isolate_count"] == before["isolate_count"], "one isolate remains"


@pytest.mark.scenario("T15")
@pytest.mark.parametrize("filler", ["x", "é"], ids=["one byte", "two bytes"])
def test_given_a_script_of_exactly_the_limit_then_it_is_taken_and_one_byte_more_is_not(flora, refused, filler):
    guild = flora.new_guild()
    script = ECHO % "full"
    room = MAX_BYTES - len(script.encode()) - len("//\n")
    padding = filler * (room // len(filler.encode())) + "x" * (room % len(filler.encode()))
    whole = f"//{padding}\n{script}"
    assert len(whole.encode()) == MAX_BYTES

    guild.deploy(whole)
    with pytest.raises(refused) as caught:
        guild.deploy(f"//{padding}x\n{script}")

    assert caught.value.status == 400
    assert f"script exceeds size limit (max {MAX_BYTES} bytes)" in caught.value.message
    assert guild.ask("up") == "full up"


@pytest.mark.scenario("T18")
def test_given_a_new_version_that_throws_at_load_then_the_error_names_the_authors_line_and_the_old_one_answers(
    flora, refused
):
    guild = flora.new_guild()
    guild.deploy(ECHO % "v1")

    with pytest.raises(refused) as caught:
        guild.deploy_files(
            {
                "main.ts": "import { settings } from './settings'\nconsole.log(settings())\n",
                "settings.ts": "export function settings(): string {\n  throw new TypeError('no settings')\n}\n",
            }
        )

    assert caught.value.status == 400
    assert "no settings" in caught.value.message
    assert "settings.ts:2" in caught.value.message
    assert "prelude" not in caught.value.message
    assert guild.ask("still") == "v1 still"
    deployed = flora.api("GET", f"/deployments/{guild.id}?include_bundle=true")
    assert deployed["bundle"] == ECHO % "v1"


def test_given_two_versions_when_rolled_back_and_undeployed_by_command_then_what_answers_follows(
    flora, refused, wait_for
):
    guild = flora.new_guild()
    routes = flora.metrics()["guild_routes"]
    guild.deploy(ECHO % "v1")
    guild.deploy_files({"main.ts": ECHO % "v2"})

    back = flora.cli("rollback", "--guild", guild.id)
    assert back.returncode == 0, back.stderr
    assert guild.ask("which") == "v1 which"
    gone = flora.cli("undeploy", "--guild", guild.id, "--yes")
    assert gone.returncode == 0, gone.stderr
    assert flora.metrics()["guild_routes"] == routes - 1
    with pytest.raises(refused) as caught:
        flora.api("GET", f"/deployments/{guild.id}")
    assert caught.value.status == 404
    history = json.loads(flora.cli("history", guild.id, "--json").stdout)
    second = next(
        row["id"] for row in history if row["change_summary"]["modified_files"] == 0 and row["entry"] == "main.ts"
    )
    again = flora.cli("rollback", second[:13], "--guild", guild.id)
    assert again.returncode == 0, again.stderr

    assert guild.ask_until_answered("which", within_s=10) == "v2 which"
    assert [row["deploy_source"] for row in history] == ["cli", "unknown", "unknown", "bootstrap"]
    told = json.loads(flora.cli("audit", "--guild", guild.id, "--json").stdout)["lines"]
    assert [line["action"] for line in reversed(told)] == [
        *("deploy.create", "deploy.create", "deploy.create", "deploy.rollback", "deploy.undeploy", "deploy.rollback"),
    ]


@pytest.mark.scenario("T13")
def test_given_a_script_that_replaces_the_dispatch_function_then_events_reach_the_replacement(flora):
    guild = flora.new_guild()
    guild.deploy(
        "on('messageCreate', async () => {})\n"
        "globalThis.__floraDispatch = async (name, event) => { console.log('replaced: ' + name) }"
    )

    guild.say("hello")

    assert guild.log_line("replaced: messageCreate")["level"] == "info"


def test_given_a_stranger_when_deploying_then_it_is_refused(flora, refused):
    guild = flora.new_guild()
    stranger = flora.sim("POST", f"/sim/guilds/{guild.id}/users", {"name": "stranger"})
    token = flora.cli("token", "create", "--user", stranger["id"]).stdout.strip()

    with pytest.raises(refused) as caught:
        flora.api("POST", f"/deployments/{guild.id}", {"entry": "main.js", "bundle": ECHO % "mine"}, token=token)

    assert caught.value.status == 403
    assert guild.ask("!ping") == "Pong!"


@pytest.mark.scenario("T22")
def test_given_a_guild_that_removes_the_bot_then_its_isolate_is_gone_and_the_deployment_kept(flora, wait_for):
    guild = flora.new_guild()
    guild.deploy(ECHO % "mine")
    before = flora.metrics()

    flora.sim("DELETE", f"/sim/guilds/{guild.id}")

    wait_for(lambda: flora.metrics()["guild_routes"] == before["guild_routes"] - 1, 10, "the route stays")
    wait_for(lambda: flora.metrics()["isolate_count"] == before["isolate_count"] - 1, 10, "the isolate stays")
    again = flora.new_guild(guild.id)
    assert again.ask_until_answered("back?", within_s=10) == "mine back?"


@pytest.mark.scenario("T23")
def test_given_a_guild_with_an_outage_then_its_script_goes_on(flora):
    guild = flora.new_guild()
    guild.deploy(
        "let count = 0\non('messageCreate', async (msg) => { if (!msg.author.bot) await msg.reply(`${++count}`) })"
    )
    assert guild.ask("one") == "1"

    flora.sim("DELETE", f"/sim/guilds/{guild.id}?unavailable=true")
    flora.sim("POST", f"/sim/guilds/{guild.id}/available")

    assert guild.ask_until_answered("two", within_s=10) != "1", "it kept its memory"


# Stored and running script agree in the end


def _revisions(flora, guild) -> list[tuple[str, str]]:
    """(status, source) of a guild's revisions, oldest first."""
    with psycopg.connect(_embedded_url(flora.folder / "data")) as connection:
        return connection.execute(
            "SELECT status, deploy_source FROM deployment_revisions WHERE guild_id = %s ORDER BY deployed_at",
            (guild.id,),
        ).fetchall()


def _stored(flora, guild) -> str:
    with psycopg.connect(_embedded_url(flora.folder / "data")) as connection:
        row = connection.execute("SELECT bundle FROM deployments WHERE guild_id = %s", (guild.id,)).fetchone()
        assert row is not None
        return str(row[0])


def _deploy_and_hang_up(flora, guild, script: str) -> None:
    """Sends a deploy and goes away before it is answered."""
    body = json.dumps({"entry": "main.js", "bundle": script}).encode()
    headers = {"Authorization": f"Bearer {flora.token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{flora.url}/api/deployments/{guild.id}", body, headers)
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(request, timeout=0.5)


@pytest.mark.scenario("T21")
@pytest.mark.parametrize("ending", ["", "throw new Error('too late')"])
def test_given_a_caller_who_stops_waiting_for_a_slow_deploy_then_it_comes_to_one_end_all_the_same(
    flora, wait_for, ending
):
    guild = flora.new_guild()
    guild.deploy(ECHO % "v1")
    before = len(_revisions(flora, guild))
    slow = f"await new Promise((done) => setTimeout(done, 2500))\n{ending}\n" + ECHO % "v2"

    _deploy_and_hang_up(flora, guild, slow)

    assert guild.ask("meanwhile") == "v1 meanwhile"
    wait_for(lambda: len(_revisions(flora, guild)) == before + 1, 15, "the deploy has no end")
    assert _revisions(flora, guild)[-1] == ("failed" if ending else "success", "unknown")
    assert _stored(flora, guild) == (ECHO % "v1" if ending else slow)
    assert guild.ask("and now") == ("v1 and now" if ending else "v2 and now")


def test_given_four_deploys_of_one_guild_at_once_then_one_is_the_last_and_it_is_stored_and_runs(flora):
    guild = flora.new_guild()
    scripts = [ECHO % f"v{number}" for number in range(4)]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(guild.deploy, scripts))

    assert len({answer["updated_at"] for answer in answers}) == 4
    last = scripts[max(range(4), key=lambda number: answers[number]["updated_at"])]
    assert _stored(flora, guild) == last
    assert ECHO % guild.ask("who").removesuffix(" who") == last


@contextmanager
def _refusing_database(flora, guild) -> Iterator[None]:
    """The transaction's second statement fails for this guild."""
    with psycopg.connect(_embedded_url(flora.folder / "data"), autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF NEW.guild_id = '{guild.id}' THEN RAISE 'disk is sad'; END IF; RETURN NEW; END $$"
        )
        connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON deployments FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
        try:
            yield
        finally:
            connection.execute("DROP TRIGGER refuse ON deployments")
            connection.execute("DROP FUNCTION refuse")


@pytest.mark.scenario("T24b")
def test_given_a_database_that_refuses_the_transaction_then_the_caller_gets_500_and_the_previous_script_answers(
    flora, refused
):
    guild = flora.new_guild()
    guild.deploy(ECHO % "v1")
    before = _revisions(flora, guild)

    with _refusing_database(flora, guild), pytest.raises(refused) as caught:
        guild.deploy(ECHO % "v2")

    assert (caught.value.status, caught.value.body["code"]) == (500, "STORAGE_ERROR")
    assert "disk is sad" not in caught.value.message
    assert guild.ask("still") == "v1 still"
    assert (_stored(flora, guild), _revisions(flora, guild)) == (ECHO % "v1", before)
    guild.deploy(ECHO % "v3")
    assert guild.ask("now") == "v3 now"


@pytest.mark.scenario("T24")
def test_given_guilds_that_are_announced_by_ready_and_by_guild_create_then_each_has_one_starter(flora, wait_for):
    first, new = flora.first_guild(), flora.new_guild()

    flora.sim("POST", "/sim/sessions/disconnect", {"mode": "invalid"})  # READY and every GUILD_CREATE once more

    assert new.ask_until_answered("!ping", within_s=20) == "Pong!"
    for guild in (first, new):
        assert [kept for kept in _revisions(flora, guild) if kept[1] == "bootstrap"] == [("success", "bootstrap")]
