"""Guilds, users, logins and the latest messages in one JSON file, so that they survive a restart. Interactions do not."""

from __future__ import annotations

import logging
import os
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from flora.http.simulator import shapes
from flora.http.simulator.errors import JsonObject
from flora.http.simulator.model import Channel, Guild
from flora.http.simulator.oauth import Grants
from flora.http.simulator.world import World

VERSION = 1
MESSAGES_PER_CHANNEL = 200
log = logging.getLogger(__name__)


def save(world: World, grants: Grants, path: Path) -> None:
    """Writes the state, whole or not at all: into a file beside it, which then takes its place."""
    state = {
        "version": VERSION,
        "last_id": world.ids.next(),
        "users": [u for u in world.users.values() if u["id"] != world.bot_id],
        "guilds": [_guild_out(g) for g in world.guilds.values()],
        "webhooks": list(world.webhooks.values()),
        "global_commands": world.global_commands,
        "logins": grants.saved(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb", opener=_private) as file:
        file.write(orjson.dumps(state))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)  # tokens are in it


def load(world: World, grants: Grants, path: Path) -> None:
    """Brings the state back. A file that cannot be read is set aside and the world starts empty."""
    try:
        state = orjson.loads(path.read_bytes())
        if state["version"] != VERSION:
            raise ValueError(f"version {state['version']}")
        guilds = [_guild_in(saved) for saved in state["guilds"]]
        grants.bring_back(state.get("logins", {}))  # a file from before there were any
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        aside = path.with_name(path.name + ".unreadable")
        path.replace(aside)
        log.warning("the simulated Discord's saved state could not be read and was moved to %s: %s", aside, exc)
        return
    world.ids.never_below(state["last_id"])
    world.users.update({user["id"]: user for user in state["users"]})
    for guild in guilds:
        world.guilds[guild.id] = guild
        world.channels.update(guild.channels)
    world.webhooks.update({w["id"]: w for w in state["webhooks"]})
    world.global_commands.update(state["global_commands"])


def _guild_out(guild: Guild) -> JsonObject:
    return {
        "data": guild.data,
        "roles": guild.roles,
        "members": guild.members,
        "bans": guild.bans,
        "commands": guild.commands,
        "command_permissions": guild.command_permissions,
        "channels": [_channel_out(channel) for channel in guild.channels.values()],
    }


def _channel_out(channel: Channel) -> JsonObject:
    skipped = max(0, len(channel.messages) - MESSAGES_PER_CHANNEL)
    messages = [m for m in islice(channel.messages.values(), skipped, None) if not m["flags"] & shapes.EPHEMERAL]
    kept = {m["id"] for m in messages}
    return {
        "data": channel.data,
        "messages": messages,
        "thread_members": channel.thread_members,
        "reactors": {m: {e: list(u) for e, u in kinds.items()} for m, kinds in channel.reactors.items() if m in kept},
    }


def _guild_in(saved: dict[str, Any]) -> Guild:
    channels = [
        Channel(
            c["data"],
            {m["id"]: m for m in c["messages"]},
            c["thread_members"],
            {m: {e: dict.fromkeys(u) for e, u in kinds.items()} for m, kinds in c["reactors"].items()},
        )
        for c in saved["channels"]
    ]
    return Guild(
        saved["data"],
        roles=saved["roles"],
        members=saved["members"],
        channels={c.id: c for c in channels},
        bans=saved["bans"],
        commands=saved["commands"],
        command_permissions=saved["command_permissions"],
    )
