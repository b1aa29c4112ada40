"""Application commands, global and per guild: bulk overwrite, one by one, and permissions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from flora.http.simulator import errors
from flora.http.simulator.errors import ApiError, FormErrors, JsonObject
from flora.http.simulator.rest.routing import Call, Reply, Routes

MAX_COMMANDS = 100
CHAT_INPUT = 1
_NAME = re.compile(r"^[-_'\w]{1,32}$")
_SUBCOMMAND, _GROUP = 1, 2


def register(routes: Routes) -> None:
    """Adds this module's routes."""
    for commands in ("/applications/{application_id}/commands",
                     "/applications/{application_id}/guilds/{guild_id}/commands"):  # fmt: skip
        routes.add("GET", commands)(list_commands)
        routes.add("POST", commands)(create)
        routes.add("PUT", commands)(overwrite)
        routes.add("GET", commands + "/{command_id}")(fetch)
        routes.add("PATCH", commands + "/{command_id}")(edit)
        routes.add("DELETE", commands + "/{command_id}")(delete)
    permissions = "/applications/{application_id}/guilds/{guild_id}/commands/permissions"
    routes.add("GET", permissions)(list_permissions)
    one = "/applications/{application_id}/guilds/{guild_id}/commands/{command_id}/permissions"
    routes.add("GET", one)(fetch_permissions)
    routes.add("PUT", one)(edit_permissions)


def _commands(call: Call) -> dict[str, JsonObject]:
    """The commands the path is about."""
    if call.params["application_id"] != call.sim.config.application_id:
        raise ApiError(403, 20012, "You are not authorized to perform this action on this application")
    if "guild_id" not in call.params:
        return call.sim.world.global_commands
    guild = call.sim.world.guilds.get(call.id("guild_id"))
    if guild is None or guild.unavailable:
        raise errors.missing_access()  # Discord says this, not that the guild is unknown
    return guild.commands


def _announce(call: Call) -> None:
    call.sim.world.emit("SIM_COMMANDS", {"guild_id": call.params.get("guild_id")}, call.params.get("guild_id"))


def list_commands(call: Call) -> Any:
    return list(_commands(call).values())


def overwrite(call: Call) -> Any:
    """Replaces all commands. Those whose name and type stay keep their id."""
    commands = _commands(call)
    if not isinstance(call.body, list):
        raise errors.invalid_form((), "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
    faults = FormErrors()
    if len(call.body) > MAX_COMMANDS:
        faults.too_long(MAX_COMMANDS)
    seen: set[tuple[str, int]] = set()
    for index, form in enumerate(call.body):
        _check(form, (index,), faults)
        key = (str(form.get("name")), int(form.get("type") or CHAT_INPUT)) if isinstance(form, dict) else ("", 0)
        if key in seen:
            text = "Application command names must be unique"
            faults.add((index, "name"), "APPLICATION_COMMANDS_DUPLICATE_NAME", text)
        seen.add(key)
    faults.raise_if_any()
    old = {(c["name"], c["type"]): c["id"] for c in commands.values()}
    made = [_make(call, form, old.get((form["name"], int(form.get("type") or CHAT_INPUT)))) for form in call.body]
    commands.clear()
    commands.update({command["id"]: command for command in made})
    _announce(call)
    return made


def _make(call: Call, form: JsonObject, command_id: str | None) -> JsonObject:
    command: JsonObject = {
        "id": command_id or call.sim.world.ids.next(),
        "application_id": call.sim.config.application_id,
        "version": call.sim.world.ids.next(),
        "default_member_permissions": form.get("default_member_permissions"),
        "type": int(form.get("type") or CHAT_INPUT),
        "name": form["name"],
        "name_localizations": form.get("name_localizations"),
        "description": form.get("description") or "",
        "description_localizations": form.get("description_localizations"),
        "dm_permission": True,
        "contexts": form.get("contexts"),
        "integration_types": form.get("integration_types") or [0],
        "nsfw": bool(form.get("nsfw")),
        "options": form.get("options") or [],
    }
    if "guild_id" in call.params:
        command["guild_id"] = call.params["guild_id"]
    return command


def create(call: Call) -> Any:
    """Makes a command, or replaces the one with the same name and type."""
    commands = _commands(call)
    faults = FormErrors()
    _check(call.form, (), faults)
    faults.raise_if_any()
    kind = int(call.form.get("type") or CHAT_INPUT)
    same = next((c for c in commands.values() if (c["name"], c["type"]) == (call.form["name"], kind)), None)
    if same is None and len(commands) >= MAX_COMMANDS:
        raise ApiError(400, 30032, f"Maximum number of application commands reached ({MAX_COMMANDS})")
    command = _make(call, call.form, same["id"] if same else None)
    commands[command["id"]] = command
    _announce(call)
    return Reply(200 if same else 201, command)


def _one(call: Call) -> tuple[dict[str, JsonObject], JsonObject]:
    commands = _commands(call)
    command = commands.get(call.id("command_id"))
    if command is None:
        raise errors.unknown("application command")
    return commands, command


def fetch(call: Call) -> Any:
    return _one(call)[1]


def edit(call: Call) -> Any:
    commands, command = _one(call)
    form = {**command, **call.form}
    faults = FormErrors()
    _check(form, (), faults)
    faults.raise_if_any()
    commands[command["id"]] = made = _make(call, form, command["id"])
    _announce(call)
    return made


def delete(call: Call) -> None:
    commands, command = _one(call)
    del commands[command["id"]]
    _announce(call)


def list_permissions(call: Call) -> Any:
    _commands(call)
    return list(call.guild().command_permissions.values())


def fetch_permissions(call: Call) -> Any:
    _, command = _one(call)
    found = call.guild().command_permissions.get(command["id"])
    if found is None:
        raise ApiError(404, 10066, "Unknown application command permissions")
    return found


def edit_permissions(call: Call) -> Any:
    """Only a person's token may do this, and the routes here take the bot's: refused, as by Discord."""
    _one(call)
    raise ApiError(403, 20001, "Bots cannot use this endpoint")


def _check(form: Any, path: tuple[str | int, ...], faults: FormErrors) -> None:
    if not isinstance(form, dict):
        faults.add(path, "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
        return
    kind = int(form.get("type") or CHAT_INPUT)
    _check_name(form, path, faults, lowercase=kind == CHAT_INPUT)
    if kind == CHAT_INPUT:
        _check_description(form, path, faults)
    elif form.get("description"):
        faults.add((*path, "description"), "APPLICATION_COMMAND_INVALID_DESCRIPTION", "Must be empty")
    _check_options(form.get("options") or [], (*path, "options"), faults)


def _check_name(form: JsonObject, path: tuple[str | int, ...], faults: FormErrors, *, lowercase: bool) -> None:
    name = form.get("name")
    if not name:
        faults.required(*path, "name")
    elif len(str(name)) > 32:
        faults.add((*path, "name"), "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 32 in length.")
    elif lowercase and (not _NAME.match(str(name)) or str(name) != str(name).lower()):
        faults.add((*path, "name"), "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")


def _check_description(form: JsonObject, path: tuple[str | int, ...], faults: FormErrors) -> None:
    description = form.get("description")
    if not description:
        faults.required(*path, "description")
    elif len(str(description)) > 100:
        faults.add((*path, "description"), "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 100 in length.")


def _check_options(options: list[Any], path: tuple[str | int, ...], faults: FormErrors) -> None:
    if len(options) > 25:
        faults.too_long(25, *path)
    optional_seen = False
    for index, option in _objects(options, path, faults):
        here = (*path, index)
        kind = option.get("type")
        if kind not in range(1, 12):
            text = "Value must be one of (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)."
            faults.add((*here, "type"), "BASE_TYPE_CHOICES", text)
            continue
        _check_name(option, here, faults, lowercase=True)
        _check_description(option, here, faults)
        if kind in (_SUBCOMMAND, _GROUP):
            _check_options(option.get("options") or [], (*here, "options"), faults)
        elif option.get("required") and optional_seen:
            text = "Required options must be placed before non-required options"
            faults.add((*here, "required"), "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID", text)
        elif not option.get("required"):
            optional_seen = True


def _objects(options: list[Any], path: tuple[str | int, ...], faults: FormErrors) -> Iterator[tuple[int, JsonObject]]:
    for index, option in enumerate(options):
        if isinstance(option, dict):
            yield index, option
        else:
            faults.add((*path, index), "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
