"""Options of a slash command: from what a person entered to what Discord sends."""

from __future__ import annotations

from typing import Any

from flora.http.simulator import errors
from flora.http.simulator.errors import FormErrors, JsonObject
from flora.http.simulator.model import Guild
from flora.http.simulator.world import World

SUBCOMMAND, GROUP, STRING, INTEGER, BOOLEAN, USER, CHANNEL, ROLE, MENTIONABLE, NUMBER = range(1, 11)
_NOT_IN_RESOLVED_CHANNEL = frozenset({"permission_overwrites", "last_message_id", "position"})


def as_options(command: JsonObject, path: list[str], given: Any) -> list[JsonObject]:
    """The `options` of an interaction.

    Args:
        path: Names of subcommand group and subcommand, as far as there are any.
        given: `{name: value}`, or Discord's list, which is passed through.

    Raises:
        ApiError: 50035 for a missing required option or a value of the wrong kind, 10063 for an unknown subcommand.
    """
    if isinstance(given, list):
        return given
    defined = command.get("options") or []
    if path or any(o["type"] in (SUBCOMMAND, GROUP) for o in defined):
        name = path[0] if path else ""
        chosen = next((o for o in defined if o["name"] == name and o["type"] in (SUBCOMMAND, GROUP)), None)
        if chosen is None:
            raise errors.unknown("application command")
        return [{"name": name, "type": chosen["type"], "options": as_options(chosen, path[1:], given)}]
    faults = FormErrors()
    options = []
    for option in defined:
        value = given.get(option["name"])
        if value is None or value == "":
            if option.get("required"):
                faults.required("options", option["name"])
            continue
        options.append({"name": option["name"], "type": option["type"], "value": _value(option, value, faults)})
    faults.raise_if_any()
    return options


def _value(option: JsonObject, value: Any, faults: FormErrors) -> Any:
    path = ("options", option["name"])
    try:
        if option["type"] == INTEGER:
            return int(value)
        if option["type"] == NUMBER:
            return float(value)
    except (TypeError, ValueError):
        faults.add(path, "NUMBER_TYPE_COERCE", f'Value "{value}" is not a number.')
        return None
    if option["type"] == BOOLEAN:
        return value if isinstance(value, bool) else str(value).lower() in ("true", "1", "yes", "on")
    choices = [c["value"] for c in option.get("choices") or ()]
    if choices and value not in choices:
        faults.add(path, "BASE_TYPE_CHOICES", f"Value must be one of {choices}.")
    return str(value)


def resolve(world: World, guild: Guild, options: list[JsonObject]) -> JsonObject:
    """Users, members, roles and channels that options name by id.

    Raises:
        ApiError: If one does not exist.
    """
    resolved: JsonObject = {}
    for option in options:
        kind, value = option["type"], str(option.get("value"))
        if kind in (SUBCOMMAND, GROUP):
            for key, found in resolve(world, guild, option.get("options") or []).items():
                resolved.setdefault(key, {}).update(found)
        elif kind == ROLE or (kind == MENTIONABLE and value in guild.roles):
            if value not in guild.roles:
                raise errors.unknown("Role")
            resolved.setdefault("roles", {})[value] = guild.roles[value]
        elif kind in (USER, MENTIONABLE):
            resolved.setdefault("users", {})[value] = world.user(value)
            if value in guild.members:
                member = {**guild.members[value], "permissions": str(guild.permissions_of(value))}
                resolved.setdefault("members", {})[value] = member
        elif kind == CHANNEL:
            data = world.channel(value).data
            resolved.setdefault("channels", {})[value] = {
                **{k: v for k, v in data.items() if k not in _NOT_IN_RESOLVED_CHANNEL},
                "permissions": str(guild.permissions_of(guild.owner_id)),
            }
    return resolved
