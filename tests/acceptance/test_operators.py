"""What an operator sees and does on the command line of a running flora."""

from __future__ import annotations

import json

import pytest

from flora.messages.placement import FIRST_DEDICATED_WORKER

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(90)]

ECHO = "on('messageCreate', async (msg) => { if (!msg.author.bot) await msg.reply('echo ' + msg.content) })"


def _json(flora, *args: str):
    done = flora.cli(*args, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_given_a_guild_when_it_is_placed_alone_and_back_then_status_workers_metrics_and_audit_show_it(flora, wait_for):
    guild = flora.new_guild()
    guild.deploy(ECHO)
    assert guild.ask("one") == "echo one"

    before = _json(flora, "status", guild.id)
    placed = _json(flora, "place", guild.id, "dedicated")
    answer = guild.ask_until_answered("two", within_s=10)
    alone = _json(flora, "status", guild.id)
    workers = {facts["worker"]: facts for facts in _json(flora, "workers")}
    metrics = flora.scrape()
    back = _json(flora, "place", guild.id, "shared")

    assert (before["placement"], before["state"], before["worker"] < FIRST_DEDICATED_WORKER) == (
        *("shared", "serving", True),
    )
    assert before["usage"]["cpu_us"] > 0
    assert placed["placement"] == alone["placement"] == "dedicated"
    assert answer == "echo two"
    assert workers[alone["worker"]]["dedicated"]
    assert workers[alone["worker"]]["guilds"] == 1
    assert workers[alone["worker"]]["rss_bytes"] > 10_000_000
    assert f'flora_guild_state{{guild_id="{guild.id}",state="serving"}} 1.0\n' in metrics
    assert f'flora_worker_up{{worker="{alone["worker"]}"}} 1.0\n' in metrics
    assert back["placement"] == "shared"
    assert guild.ask_until_answered("three", within_s=10) == "echo three"

    def told() -> list[tuple[str, str]]:
        lines = _json(flora, "audit", "--guild", guild.id)["lines"]
        return [(line["action"], line["actor"]["actor_type"]) for line in reversed(lines)]

    # The deploy's line is stored with it; those of the front-end follow a moment later.
    placed_twice = [("guild.place", "operator")] * 2
    wait_for(lambda: told()[-3:] == [("deploy.create", "token"), *placed_twice], 10, f"the audit log says {told()}")


def test_given_a_running_flora_then_status_sums_up_and_knows_every_guild(flora):
    guild = flora.new_guild()

    shown = flora.cli("status")
    everything = _json(flora, "status")

    assert shown.stdout.startswith("ready\nworkers  2 shared"), shown.stdout + shown.stderr
    assert everything["ready"] is True
    assert guild.id in {facts["guild_id"] for facts in everything["guilds"]}
    assert flora.cli("status", "123").returncode == 1
