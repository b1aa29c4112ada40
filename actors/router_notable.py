"""The router's part that picks the guilds with series of their own, and counts all of them by state and placement."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from flora.actors.router_places import Places
from flora.actors.router_views import Views
from flora.messages.ids import GuildId
from flora.messages.placement import GuildState, Placement

Facts = dict[str, Any]


def guild_figures(views: Views, places: Places, said: Iterable[Mapping[str, Any]], most: int) -> Facts:
    """The "guilds" of the router's answer to `ReadMetrics`.

    Args:
        said: The "guilds" of the workers' answers.
        most: So many become notable.
    """
    usage: dict[GuildId, Facts] = {}
    told: dict[GuildId, str] = {}
    for of_worker in said:
        usage |= of_worker["usage"]
        told |= of_worker["states"]
    states, placements = Counter(dict.fromkeys(GuildState, 0)), Counter(dict.fromkeys(Placement, 0))
    ranked = []
    for guild_id in views.guilds():
        home = places.home(guild_id)
        state, (placement, _, _) = (
            views.state_of(guild_id, home, told.get(guild_id)),
            views.placement_of(guild_id, home),
        )
        states[state] += 1
        placements[placement] += 1
        ordinary = state is GuildState.SERVING and placement is Placement.SHARED
        if not ordinary or guild_id in usage:
            ranked.append((ordinary, -usage.get(guild_id, {}).get("cpu_us_last_minute", 0), guild_id, state.value))
    chosen = heapq.nsmallest(most, ranked)
    return {
        "notable": [
            views.guild_facts(guild_id, usage.get(guild_id)) | {"state": state} for *_, guild_id, state in chosen
        ],
        "states": {state.value: count for state, count in states.items()},
        "placements": {placement.value: count for placement, count in placements.items()},
    }
