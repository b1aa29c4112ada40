"""A script's stores go with its guild, from worker to worker."""

from __future__ import annotations

import json

import psycopg
import pytest

from flora.scripts.cli.tokens import _embedded_url

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(90)]

# It uses its store while it loads, too: the worker it comes from must have let go by then.
COUNTS = """
const loaded = await kv.increment('loads')
on('messageCreate', async (msg) => {
  if (msg.author.bot) return
  await msg.reply([msg.content, loaded, await kv.increment('messages')].join(' '))
})
"""


@pytest.mark.scenario("T41")
def test_given_a_script_with_a_store_when_its_guild_moves_and_comes_back_then_it_counts_on(flora, wait_for):
    guild = flora.new_guild()
    guild.deploy(COUNTS)
    assert guild.ask("one") == "one 1 1"

    for number, where in enumerate(("dedicated", "shared"), start=2):
        placed = flora.cli("place", guild.id, where, "--json")
        assert placed.returncode == 0, placed.stderr
        assert json.loads(placed.stdout)["placement"] == where
        assert guild.ask(where) == f"{where} {number} {number}"

    def rows() -> list[str]:
        with psycopg.connect(_embedded_url(flora.folder / "data")) as connection:
            found = connection.execute("SELECT store_name FROM kv_stores WHERE guild_id = %s", (guild.id,)).fetchall()
        return [name for (name,) in found]

    wait_for(lambda: rows() == ["default"], 10, f"the table kv_stores says {rows()}")
