"""`kill -9` while a script loads: in the end the guild runs what is stored."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

pytestmark = [pytest.mark.service, pytest.mark.fault, pytest.mark.timeout(60)]

WITHIN_S = 25.0
OLD = "on('messageCreate', async (msg) => { if (!msg.author.bot) await msg.reply('old') })"
# It says that it loads; then there is time to kill somebody.
SLOW = """
console.log('loading')
await new Promise((done) => setTimeout(done, 1500))
console.log('loaded')
on('messageCreate', async (msg) => { if (!msg.author.bot) await msg.reply('new') })
"""


def deploy_and_kill(flora, guild, part) -> object:
    """Kills a part while the slow script loads; gives what the deploy answered, or the exception."""
    guild.deploy(OLD)
    with ThreadPoolExecutor(1) as pool:
        deploying = pool.submit(guild.deploy, SLOW)
        guild.log_line("loading", within_s=WITHIN_S)
        flora.kill(part)
        return deploying.exception(WITHIN_S) or deploying.result()


def stored(guild, refused) -> str:
    """The guild's stored script; "" while there is no deployer."""
    try:
        return str(guild.flora.api("GET", f"/deployments/{guild.id}?include_bundle=true")["bundle"])
    except refused:
        return ""


@pytest.mark.scenario("T21")
def test_given_a_deployer_killed_while_a_script_loads_then_the_stored_script_runs_in_the_end(
    broken_flora, refused, wait_for
):
    guild = broken_flora.new_guild()

    answer = deploy_and_kill(broken_flora, guild, "deployer")

    assert isinstance(answer, refused)
    assert answer.status == 503
    wait_for(lambda: stored(guild, refused), WITHIN_S, "no deployer")
    assert stored(guild, refused) == OLD
    for _ in range(4):
        assert guild.ask("which", within_s=WITHIN_S) == "old"
    assert not [line for line in guild.logs() if line["message"] == "loaded"], "its load was given up"


def test_given_a_router_killed_while_a_script_loads_then_the_deploy_goes_on_with_the_next_one(broken_flora):
    guild = broken_flora.new_guild()

    answer = deploy_and_kill(broken_flora, guild, "router")

    assert not isinstance(answer, Exception)
    assert broken_flora.api("GET", f"/deployments/{guild.id}?include_bundle=true")["bundle"] == SLOW
    assert guild.ask("which", within_s=WITHIN_S) == "new"


@pytest.mark.scenario("T22")
def test_given_a_deployer_that_was_killed_when_the_bot_leaves_a_guild_then_its_script_stops_and_a_rejoin_brings_it_back(
    broken_flora, refused, wait_for
):
    guild, other = broken_flora.new_guilds([None, None])
    guild.deploy(OLD)
    routes = broken_flora.metrics()["guild_routes"]
    broken_flora.kill("deployer")
    wait_for(lambda: stored(guild, refused), WITHIN_S, "no deployer")
    restarts = broken_flora.metrics()["isolate_restarts"]

    broken_flora.sim("DELETE", f"/sim/guilds/{guild.id}")

    wait_for(lambda: broken_flora.metrics()["guild_routes"] == routes - 1, WITHIN_S, "its script still runs")
    again = broken_flora.new_guild(guild.id)
    wait_for(lambda: broken_flora.metrics()["guild_routes"] == routes, WITHIN_S, "its script does not run again")
    assert again.ask_until_answered("which", within_s=WITHIN_S) == "old"  # a route is there before its script is
    assert other.ask("!ping", within_s=WITHIN_S) == "Pong!"
    assert broken_flora.metrics()["isolate_restarts"] == restarts, "guilds that run were loaded again"
