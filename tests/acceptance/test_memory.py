"""A worker whose memory runs out ends the guild that used it up, not itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from flora.actors.isolate.memory_watch import resident_bytes

pytestmark = [
    pytest.mark.service,
    pytest.mark.slow,
    pytest.mark.timeout(60),
    pytest.mark.skipif(resident_bytes() is None, reason="this system does not tell the resident memory"),
]

GUESTS = Path(__file__).parents[1] / "guests"
LIMIT_MB = 260
ECHO = "on('messageCreate', async (msg) => { if (!msg.author.bot) await msg.reply('echo: ' + msg.content) })"


@pytest.mark.scenario("T33")
def test_given_memory_that_no_limit_of_v8_sees_when_the_worker_has_too_much_then_only_the_guilty_guild_is_ended(
    make_flora, wait_for
):
    flora = make_flora({"RUNTIME_MAX_WORKERS": "1", "RUNTIME_MAX_WORKER_MEMORY_MB": str(LIMIT_MB)}).start()
    flora.unlimited()
    bad, neighbour = flora.new_guilds([None, None])
    bad.deploy((GUESTS / "keeps_long_texts.js").read_text())
    neighbour.deploy(ECHO)
    worker = flora.pid("worker 0")

    bad.say("go")
    line = bad.log_line("out of memory")

    assert f"its worker passed the limit of {LIMIT_MB} MB" in line["message"]
    assert neighbour.ask("still there?") == "echo: still there?"
    bad.say("hello")
    bad.log_line("fine")
    assert flora.pid("worker 0") == worker
    assert flora.metrics()["memory_kills"] == 1
    wait_for(lambda: flora.metrics()["rss_bytes"] < LIMIT_MB << 20, 5.0, "the memory was not given back")
    flora.end()
