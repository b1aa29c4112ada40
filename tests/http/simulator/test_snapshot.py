"""What survives a restart."""

from __future__ import annotations

import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flora.http.simulator import RunningSimulator, SimulatorConfig
from flora.http.simulator.snapshot import MESSAGES_PER_CHANNEL

if TYPE_CHECKING:
    from conftest import Lab

pytestmark = pytest.mark.service


async def test_given_people_who_logged_in_when_started_again_then_their_tokens_still_work(
    lab: Lab, tmp_path: Path
) -> None:
    path, redirect = tmp_path / "state.json", "http://127.0.0.1:1/back"
    async with RunningSimulator(SimulatorConfig(snapshot_path=path)) as first:
        user = first.add_guild("Kept").owner_id
        issued = first.simulator.grants.exchange(first.simulator.grants.allow(user, "identify", redirect), redirect)
    assert issued is not None

    client = await lab.start(snapshot_path=path)

    assert (await client.rest("GET", "/users/@me", token=f"Bearer {issued['access_token']}")).body["id"] == user
    assert client.sim.simulator.grants.refresh(str(issued["refresh_token"])) is not None


async def test_given_a_snapshot_when_started_again_then_guilds_messages_and_reactions_are_back(
    lab: Lab, tmp_path: Path
) -> None:
    path = tmp_path / "state.json"
    async with RunningSimulator(SimulatorConfig(snapshot_path=path)) as first:
        guild = first.add_guild("Kept")
        for number in range(MESSAGES_PER_CHANNEL + 5):
            message = first.post(guild, str(number))
        first.simulator.reactions.add(first.first_channel(guild), message, {"id": None, "name": "👍"}, guild.owner_id)
        last_id = first.simulator.world.ids.next()

    client = await lab.start(snapshot_path=path, rate_limits=False)
    found = client.sim.simulator.world.guilds[guild.id]
    kept = client.sim.messages(found)

    assert len(client.sim.simulator.world.guilds) == 2
    assert [m["content"] for m in kept] == [str(n) for n in range(5, MESSAGES_PER_CHANNEL + 5)]
    assert found.permissions_of(found.owner_id) > 0
    again = f"/channels/{kept[-1]['channel_id']}/messages/{kept[-1]['id']}/reactions/%F0%9F%91%8D/@me"
    assert (await client.rest("PUT", again)).status == 204
    assert kept[-1]["reactions"][0]["count"] == 2
    assert int(client.sim.simulator.world.ids.next()) > int(last_id)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_given_a_client_that_does_not_answer_when_stopping_then_it_ends_soon_and_has_saved(
    lab: Lab, tmp_path: Path
) -> None:
    path = tmp_path / "state.json"
    client = await lab.start(snapshot_path=path)
    await (await lab.gateway(client)).identify()  # and from here on it reads nothing
    client.sim.add_guild("Saved")
    started = time.monotonic()

    await client.sim.close()

    assert time.monotonic() - started < 3.0
    assert b"Saved" in path.read_bytes()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 99}', b'{"version": 1}'])
async def test_given_a_broken_snapshot_then_it_is_set_aside_and_a_new_world_begins(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)

    async with RunningSimulator(SimulatorConfig(snapshot_path=path)) as sim:
        assert [g.data["name"] for g in sim.simulator.world.guilds.values()] == ["Demo guild"]

    assert (tmp_path / "state.json.unreadable").read_bytes() == content
