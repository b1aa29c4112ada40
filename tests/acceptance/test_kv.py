"""Key-value stores of a running flora: what scripts write, people see over HTTP and on the command line, and the other way round."""

from __future__ import annotations

import gzip
import json

import pytest

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(60)]

KEEPS = """
on('messageCreate', async (msg) => {
  if (msg.author.bot) return
  const [verb, text] = msg.content.split(' ')
  if (verb === 'set') await kv.set('k', JSON.parse(text))
  await msg.reply(JSON.stringify(await kv.get('k')))
})
"""


def test_given_the_starter_bot_when_exported_and_restored_then_it_counts_on_from_there(flora, tmp_path):
    guild = flora.new_guild()
    used = {"name": "counter", "wait_s": 10}

    def count():
        answer = flora.sim("POST", f"/sim/guilds/{guild.id}/interactions/command", used)
        return answer["message"]["content"]

    def kv(*args):
        done = flora.cli("kv", *args, "--guild", guild.id, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert [count(), count()] == ["Counter: 1", "Counter: 2"]
    assert kv("get", "count", "--store", "counter") == "2\n"
    kv("export")
    assert count() == "Counter: 3"

    kv("restore", "--yes")

    assert count() == "Counter: 3"
    kv("download", "--output", "export.gz")
    lines = [json.loads(line) for line in gzip.decompress((tmp_path / "export.gz").read_bytes()).splitlines()]
    assert [line["value"] for line in lines if "key" in line] == ["2"]
    assert [line["store"] for line in lines if "store" in line] == ["counter"]


def test_given_a_value_of_a_script_when_read_and_changed_over_http_then_both_sides_see_the_same(flora, refused):
    guild = flora.new_guild()
    guild.deploy(KEEPS)
    path = f"/kv/{guild.id}/default/k"

    assert guild.ask('set {"a":[1]}') == '{"a":[1]}'
    told = flora.api("GET", path)
    flora.api("PUT", path, {"value": "[2]", "type": "json"})
    changed = guild.ask("get")
    flora.api("PUT", path, {"value": "text", "ttl": 60})

    assert told == {"value": '{"a":[1]}', "type": "json"}
    assert changed == "[2]"
    assert guild.ask("get") == '"text"'
    assert [store["store_name"] for store in flora.api("GET", f"/kv/stores?guild_id={guild.id}")] == ["default"]
    with pytest.raises(refused) as caught:
        flora.api("PUT", f"/kv/{guild.id}/none/k", {"value": "v"})
    assert (caught.value.status, caught.value.body["code"]) == (404, "NOT_FOUND")
