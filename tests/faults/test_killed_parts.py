"""`kill -9` of one part after the other while the rest goes on: each is repaired, and guilds answer again."""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime

import pytest

pytestmark = [pytest.mark.service, pytest.mark.fault, pytest.mark.timeout(60)]

ANSWERS_WITHIN_S = 10.0
RECONNECTS_WITHIN_S = 30.0  # disnake tries again after growing, random pauses
ECHO = "on('messageCreate', async (msg) => { if (!msg.author.bot) await msg.reply('echo ' + msg.content) })"
WHOLE_WAY = {"gateway.receive", "router.wait", "isolate.run", "rest POST /channels/{id}/messages", "router.done"}
EVERY_SECOND = "cron('tick', '* * * * * *', (ctx) => console.log('tick ' + ctx.scheduledAt))"


@pytest.mark.parametrize("part", ["router", "gateway", "deployer", "compiler", "http", "log book", "cron"])
def test_given_a_killed_part_when_it_is_back_then_guilds_answer_and_deploys_work(broken_flora, wait_for, part):
    guild = broken_flora.new_guild()
    guild.deploy(ECHO)
    assert guild.ask("before") == "echo before"
    others = {pid: title for pid, title in broken_flora.processes().items() if title.startswith("flora: ")}

    killed, killed_us = broken_flora.kill(part), time.time_ns() // 1000

    # Not just one with its title: on a busy machine the killed one is there for a moment yet.
    wait_for(lambda: _is_another(broken_flora, part, killed), ANSWERS_WITHIN_S, f"{part} was not restarted")
    assert guild.ask_until_answered("after", within_s=ANSWERS_WITHIN_S) == "echo after"
    wait_for(lambda: _deploys(guild), ANSWERS_WITHIN_S, f"no deploy after {part} was killed")
    assert guild.ask_until_answered("still", within_s=ANSWERS_WITHIN_S) == "echo still"
    if part in ("router", "gateway"):
        wait_for(lambda: _has_trace(guild, killed_us), ANSWERS_WITHIN_S, f"no trace after {part} was killed")
    assert broken_flora.launcher.poll() is None
    assert others.items() - {(killed, f"flora: {part}")} <= broken_flora.processes().items(), "something else died too"


def test_given_a_killed_simulated_discord_when_it_is_back_then_its_guilds_are_there_and_answer(make_flora, wait_for):
    flora = make_flora().start()
    guild = flora.new_guild()
    wait_for(lambda: _is_saved(flora, guild), ANSWERS_WITHIN_S, "the simulated world was not saved")

    killed = flora.kill("simulated discord")

    wait_for(lambda: _sim_answers(flora), ANSWERS_WITHIN_S, "the simulated Discord does not answer")
    assert flora.pid("simulated discord") != killed
    assert guild.ask_until_answered("!ping", within_s=RECONNECTS_WITHIN_S) == "Pong!"


def _is_another(flora, part, killed) -> bool:
    return any(title == f"flora: {part}" and pid != killed for pid, title in flora.processes().items())


def _is_saved(flora, guild) -> bool:
    saved = (path for path in (flora.folder / "data").glob("*simul*/**/*") if path.is_file())
    saved_beside = (path for path in (flora.folder / "data").glob("*simul*") if path.is_file())
    return any(guild.channel_id.encode() in path.read_bytes() for path in (*saved, *saved_beside))


def _sim_answers(flora) -> bool:
    try:
        return bool(flora.sim("GET", "/sim/guilds"))
    except OSError:
        return False


def _has_trace(guild, since_us: int) -> bool:
    """Whether the whole way of an event since then was written down."""
    return any(hops[0].at_us > since_us and {hop.name for hop in hops} >= WHOLE_WAY for hops in guild.traces())


def _deploys(guild) -> bool:
    """503 and a closed connection are allowed while something is being restarted."""
    try:
        guild.deploy(ECHO)
    except OSError:
        return False
    except Exception as exc:
        if getattr(exc, "status", 0) in {503, 504}:
            return False
        raise
    return True


@pytest.mark.parametrize("program", ["postgres", "valkey-server"])
def test_given_a_killed_server_when_it_is_repaired_then_a_deploy_works(broken_flora, wait_for, program):
    guild = broken_flora.new_guild()
    guild.deploy(ECHO)
    before = broken_flora.server_pid(program)

    os.kill(before, signal.SIGKILL)

    assert guild.ask("meanwhile") == "echo meanwhile", "events do not need the servers"
    wait_for(lambda: _deploys(guild), ANSWERS_WITHIN_S, f"no deploy after {program} was killed")
    wait_for(lambda: broken_flora.has_server(program, other_than=before), ANSWERS_WITHIN_S, f"{program} is not back")
    kept = broken_flora.api("GET", f"/deployments/{guild.id}?include_bundle=true")
    assert kept["bundle"] == ECHO


def ticks(guild) -> list[datetime]:
    return [datetime.fromisoformat(line["message"][5:]) for line in guild.logs() if line["message"].startswith("tick ")]


def test_given_a_job_of_every_second_when_cron_and_its_worker_are_killed_then_it_goes_on_and_no_second_comes_twice(
    broken_flora, wait_for
):
    guild = broken_flora.new_guild()
    guild.deploy(EVERY_SECOND)
    wait_for(lambda: len(ticks(guild)) >= 2, 10, "the job does not run")

    worker = broken_flora.api("GET", f"/guilds/{guild.id}/status")["worker"]

    for part in ("cron", f"worker {worker}", "deployer"):
        killed_at = time.time()
        broken_flora.kill(part)
        wait_for(
            lambda: [at for at in ticks(guild) if at.timestamp() > killed_at + 1.5],  # noqa: B023 - called in this very round
            15,
            f"the job does not run after the death of {part}",
        )

    seconds = [int(at.timestamp()) for at in ticks(guild)]
    assert len(set(seconds)) == len(seconds)
    assert seconds == sorted(seconds)
    (job,) = broken_flora.api("GET", f"/cron/{guild.id}")
    assert job["last"]["outcome"] in ("ok", None)
    assert job["failures"] == 0
