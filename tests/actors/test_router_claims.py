"""What a restarted router does about guilds that its predecessor's death caught between two workers."""

from __future__ import annotations

from typing import Any

from flora.actors.routing import default_worker
from flora.messages.base import Ok
from flora.messages.deployment import ListWantedGuilds
from flora.messages.dispatch import WorkerReport
from flora.messages.gateway import GatewayControl
from flora.messages.ids import GuildId
from flora.messages.migration import ThawGuild

G, H = [GuildId(str(n)) for n in range(100) if default_worker(GuildId(str(n)), 2) == 0][:2]


def told_gateway(scene: Any) -> list[tuple[str, ...]]:
    """Guilds in each message that says who listens to what."""
    controls = [c for c in scene.stage.seen_by(scene.gateway, GatewayControl) if c.number]
    return [tuple(guild_id for guild_id, _ in control.subscriptions) for control in controls]


def test_given_a_frozen_guild_when_the_router_is_restarted_then_the_gateway_is_told_of_nobody_before_it_goes_on(
    make_scene,
):
    scene = make_scene(restarted=True)
    stage, (source, other) = scene.stage, scene.workers
    serving = ((H, ("messageCreate",)),)
    stage.say(source, scene.router, WorkerReport(guilds=serving, received=(), unfinished=(), frozen=((G, 7),)))
    stage.say(other, scene.router, WorkerReport(guilds=(), received=(), unfinished=()))
    wanted = stage.until(lambda: stage.seen_by(scene.deployer, ListWantedGuilds))[0]
    stage.say(scene.deployer, scene.router, Ok(req_id=wanted.req_id, value=(G, H)))
    stage.until(lambda: stage.seen_by(source, ThawGuild))
    sent = scene.events(G, H, G)

    assert told_gateway(scene) == [], "it would drop what is not named"
    scene.thaws(source)

    assert set(stage.until(lambda: told_gateway(scene))[0]) == {G, H}
    assert scene.sent_to(source) == sent
