"""Discord operations of scripts → REST calls. Pure: validates, maps, and says what must belong to the guild.

One row per operation. In a path, `{channelId}` is an id argument, `{token}` and `{emoji}` are checked and escaped,
`{userId=@me}` has a default, `{emoji?}` goes with its slash when absent, `{app}` is filled in by the gateway.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from flora.actors.isolate.op_args import Args, OpError, emoji_in_path, invalid, only_object, snowflake
from flora.actors.isolate.op_bodies import EPHEMERAL, File, command, message_body

Scope = tuple[tuple[str, str], ...]
Query = tuple[tuple[str, str], ...]
Row = tuple[int, str, str, str, Scope, str | None, Query, str | None, bool]
Built = tuple[Any, list[File]]

MULTIPART = "multipart "
"""Starts a body with files: then `{"payload": …, "files": [{"name", "data": Base64}, …]}`."""
MAX_REASON_CHARS = 512

_PLACE = re.compile(r"\{(?!app\})(\w+)(\?|=[^}]*)?\}")
_RULES = {
    "G": ("guild", "guildId"),
    "C": ("channel", "channelId"),
    "T": ("channel", "threadId"),
    "W": ("webhook", "webhookId"),
}
_WITH_REASON = frozenset(
    "op_" + name
    for name in (
        *("kick_member", "ban_member", "unban_member", "add_member_role", "remove_member_role"),
        *("edit_member", "edit_current_member", "create_channel", "edit_channel", "delete_channel"),
        *("create_thread", "create_thread_from_message", "edit_webhook", "delete_webhook"),
    )
)
_MESSAGE = ("content", "embeds", "attachments", "components", "tts", "allowedMentions", "flags")
_EDIT = ("content", "embeds", "components", "allowedMentions", "flags")


@dataclass(frozen=True, slots=True)
class RestPlan:
    """One REST call as a RestFrame carries it, but for the call's id and guild."""

    method: str
    route: str
    scope: Scope
    body: str | None
    query: Query
    reason: str | None
    retry: bool
    void: bool  # the script gets undefined, whatever Discord answers

    def row(self, call_id: int, guild_id: str) -> Row:
        """The row of a RestFrame."""
        return (
            *(call_id, guild_id, self.method, self.route),
            *(self.scope, self.body, self.query, self.reason, self.retry),
        )


@dataclass(frozen=True, slots=True)
class Op:
    """How one operation becomes a REST call."""

    method: str
    path: str
    rule: str = ""  # key of _RULES; "" where the token is the capability
    body: Callable[[Args], Built] | None = None
    query: Callable[[Args], Query] | None = None
    retry: bool = False
    void: bool = False
    more_scope: Callable[[Args], Scope] | None = None


def plan(name: str, args: Sequence[Any], guild_id: str) -> RestPlan:
    """What a Discord operation of a script asks for.

    Args:
        name: A key of `OPS`.
        args: As the script passed them, decoded from JSON.
        guild_id: Of the isolate; "" for none.
    Raises:
        OpError: refused; `details()` is what the script gets.
    """
    op = OPS[name]
    given = only_object(args)
    scope = _scope(op, given, guild_id)
    body: str | None = None
    if op.body is not None:
        built, files = op.body(given)
        body = orjson.dumps(built).decode()
        if files:
            body = f'{MULTIPART}{{"payload":{body},"files":{orjson.dumps(files).decode()}}}'
    query = op.query(given) if op.query is not None else ()
    reason = given.text("reason") if name in _WITH_REASON else None
    reason = reason[:MAX_REASON_CHARS] if reason else None
    return RestPlan(op.method, _route(op.path, given), scope, body, query, reason, op.retry, op.void)


def _scope(op: Op, given: Args, guild_id: str) -> Scope:
    if not op.rule:
        return ()
    kind, key = _RULES[op.rule]
    scope: Scope = ((kind, given.id(key)),)
    if not guild_id or (kind == "guild" and scope[0][1] != guild_id):
        raise OpError(f"{kind} {scope[0][1]} does not belong to this guild", "SCOPE_FORBIDDEN")
    return scope + (op.more_scope(given) if op.more_scope is not None else ())


@lru_cache
def _segments(path: str) -> tuple[tuple[str, str, str], ...]:
    """(text before, argument, "" | "?" | default) …, the last with the rest of the path and no argument."""
    parts = _PLACE.split(path)
    places = zip(parts[0::3], parts[1::3], parts[2::3], strict=False)
    return (*((text, key, mode or "") for text, key, mode in places), (parts[-1], "", ""))


def _route(path: str, given: Args) -> str:
    route = ""
    for text, key, mode in _segments(path):
        route += text
        if not key:
            continue
        if mode and not given.has(key):
            route = route.removesuffix("/") if mode == "?" else route + mode[1:]
        elif key == "token":
            route += given.token(key)
        elif key == "emoji":
            route += emoji_in_path(given.need_text(key), given.field(key))
        else:
            route += given.id(key)
    return route


class CommandMemory:
    """Which guild commands an isolate registered last, so that an identical repeat costs no call."""

    def __init__(self) -> None:
        self._stored: str | None = None

    def unchanged(self, asked: RestPlan) -> bool:
        """Whether Discord has exactly these already: answer undefined and send nothing."""
        return asked.body is not None and asked.body == self._stored

    def succeeded(self, asked: RestPlan) -> None:
        """Discord took them. Only then: a failed registration can be tried again."""
        self._stored = asked.body

    def forget(self) -> None:
        """Another operation changed the commands one by one."""
        self._stored = None


COMMAND_CHANGES = frozenset({"op_create_guild_command", "op_edit_guild_command", "op_delete_guild_command"})
"""After one of these `CommandMemory.forget` is called for."""

# Bodies


def _needs(args: Args, keys: Sequence[str], *, empty_components: bool = False) -> None:
    for key in keys:
        if args.has(key) and (key == "content" or args.items(key) or (key == "components" and empty_components)):
            return
    raise invalid("message", f"needs at least one of {', '.join(keys)}")


_VISIBLE = ("content", "embeds", "attachments", "components")


def _send(args: Args) -> Built:
    body, files = message_body(args, _MESSAGE)
    _needs(args, _VISIBLE)
    target = args.maybe_id("replyTo") or args.maybe_id("messageId")
    if target is not None:
        body["message_reference"] = {"message_id": target}
    return body, files


def _edited(fields: Sequence[str]) -> Callable[[Args], Built]:
    def build(args: Args) -> Built:
        body, files = message_body(args, fields)
        if not body:
            raise invalid("message", f"needs at least one of {', '.join(fields)}")
        return body, files

    return build


def _respond(kind: int) -> Callable[[Args], Built]:
    def build(args: Args) -> Built:
        body, files = message_body(args, _MESSAGE)
        _needs(args, _VISIBLE, empty_components=True)
        if args.flag("ephemeral"):
            body["flags"] = body.get("flags", 0) | EPHEMERAL
        return {"type": kind, "data": body}, files

    return build


def _defer(args: Args) -> Built:
    return {"type": 5, "data": {"flags": EPHEMERAL}} if args.flag("ephemeral") else {"type": 5}, []


def _followup(args: Args) -> Built:
    body, files = message_body(args, _MESSAGE)
    _needs(args, _VISIBLE, empty_components=True)
    return body, files


def _edit_followup(args: Args) -> Built:
    body, files = message_body(args, (*_EDIT, "attachments"))
    _needs(args, _VISIBLE, empty_components=True)
    return body, files


def _webhook(args: Args) -> Built:
    body, files = message_body(args, _MESSAGE)
    _needs(args, _VISIBLE)
    for theirs, ours in (("username", "username"), ("avatarUrl", "avatar_url"), ("threadName", "thread_name")):
        if args.has(theirs):
            body[ours] = args.text(theirs)
    return body, files


def _webhook_query(args: Args) -> Query:
    query = [("wait", "true" if args.flag("wait") else "false")]
    if args.has("threadId"):
        query.append(("thread_id", args.id("threadId")))
    if args.flag("withComponents"):
        query.append(("with_components", "true"))
    return tuple(query)


def _webhook_thread(args: Args) -> Scope:
    return (("channel", args.id("threadId")),) if args.has("threadId") else ()


def _webhook_target(args: Args) -> Scope:
    """Moving a webhook to another channel needs that channel to be the guild's."""
    payload = args.raw("payload")
    target = payload.get("channel_id") if isinstance(payload, dict) else None
    return (("channel", Args(payload, "payload").id("channel_id")),) if target is not None else ()


def _bulk_delete(args: Args) -> Built:
    args.need("messageIds")
    given = args.items("messageIds") or ()
    return {"messages": [snowflake(item, f"message_ids[{index}]") for index, item in enumerate(given)]}, []


def _ban(args: Args) -> Built:
    return {"delete_message_seconds": args.integer("deleteMessageSeconds", (1 << 32) - 1) or 0}, []


def _field(key: str) -> Callable[[Args], Built]:
    return lambda args: (args.need(key), [])


def _permissions(args: Args) -> Built:
    return {"permissions": args.need("permissions")}, []


def _one_command(args: Args) -> Built:
    args.need("command")
    given = args.object("command")
    assert given is not None
    return command(given), []


def _all_commands(args: Args) -> Built:
    args.need("commands")
    return [command(each) for each in args.objects("commands")], []


def _page(args: Args) -> Query:
    limit = args.integer("limit", 255)
    query = [("limit", str(limit))] if limit is not None else []
    given = [key for key in ("before", "after", "around") if args.has(key)]
    if given:
        query.append((given[-1], args.id(given[-1])))  # of several, the last counts
    return tuple(query)


def _wait(_: Args) -> Query:
    return (("wait", "true"),)


# The table

_MSG = "/channels/{channelId}/messages/{messageId}"
_REACTIONS = _MSG + "/reactions"
_PIN = "/channels/{channelId}/messages/pins/{messageId}"
_CALLBACK = "/interactions/{interactionId}/{token}/callback"
_HOOK = "/webhooks/{app}/{token}"
_COMMANDS = "/applications/{app}/guilds/{guildId}/commands"
_MEMBER = "/guilds/{guildId}/members/{userId}"
_payload = _field("payload")

OPS: dict[str, Op] = {
    # Messages
    "op_send_message": Op("POST", "/channels/{channelId}/messages", "C", _send),
    "op_edit_message": Op("PATCH", _MSG, "C", _edited(_EDIT)),
    "op_delete_message": Op("DELETE", _MSG, "C", void=True),
    "op_bulk_delete_messages": Op("POST", "/channels/{channelId}/messages/bulk-delete", "C", _bulk_delete, void=True),
    "op_pin_message": Op("PUT", _PIN, "C", void=True),
    "op_unpin_message": Op("DELETE", _PIN, "C", void=True),
    "op_crosspost_message": Op("POST", _MSG + "/crosspost", "C"),
    "op_fetch_message": Op("GET", _MSG, "C", retry=True),
    "op_fetch_messages": Op("GET", "/channels/{channelId}/messages", "C", query=_page, retry=True),
    "op_add_reaction": Op("PUT", _REACTIONS + "/{emoji}/@me", "C", void=True),
    "op_remove_reaction": Op("DELETE", _REACTIONS + "/{emoji}/{userId=@me}", "C", void=True),
    "op_clear_reactions": Op("DELETE", _REACTIONS + "/{emoji?}", "C", void=True),
    # Interactions
    "op_send_interaction_response": Op("POST", _CALLBACK, body=_respond(4), void=True),
    "op_defer_interaction_response": Op("POST", _CALLBACK, body=_defer, void=True),
    "op_update_interaction_response": Op("POST", _CALLBACK, body=_respond(7), void=True),
    "op_edit_original_interaction_response": Op(
        "PATCH", _HOOK + "/messages/@original", body=_edited((*_EDIT, "attachments"))
    ),
    "op_delete_original_interaction_response": Op("DELETE", _HOOK + "/messages/@original", void=True),
    "op_create_followup_message": Op("POST", _HOOK, body=_followup, query=_wait),
    "op_edit_followup_message": Op("PATCH", _HOOK + "/messages/{messageId}", body=_edit_followup),
    "op_delete_followup_message": Op("DELETE", _HOOK + "/messages/{messageId}", void=True),
    # Guild commands
    "op_upsert_guild_commands": Op("PUT", _COMMANDS, "G", _all_commands, void=True),
    "op_create_guild_command": Op("POST", _COMMANDS, "G", _one_command),
    "op_edit_guild_command": Op("PATCH", _COMMANDS + "/{commandId}", "G", _one_command),
    "op_delete_guild_command": Op("DELETE", _COMMANDS + "/{commandId}", "G", void=True),
    "op_get_guild_commands": Op("GET", _COMMANDS, "G", retry=True),
    "op_get_guild_command": Op("GET", _COMMANDS + "/{commandId}", "G", retry=True),
    "op_edit_guild_command_permissions": Op("PUT", _COMMANDS + "/{commandId}/permissions", "G", _permissions),
    "op_get_guild_commands_permissions": Op("GET", _COMMANDS + "/permissions", "G", retry=True),
    "op_get_guild_command_permissions": Op("GET", _COMMANDS + "/{commandId}/permissions", "G", retry=True),
    # Members
    "op_kick_member": Op("DELETE", _MEMBER, "G", void=True),
    "op_ban_member": Op("PUT", "/guilds/{guildId}/bans/{userId}", "G", _ban, void=True),
    "op_unban_member": Op("DELETE", "/guilds/{guildId}/bans/{userId}", "G", void=True),
    "op_add_member_role": Op("PUT", _MEMBER + "/roles/{roleId}", "G", void=True),
    "op_remove_member_role": Op("DELETE", _MEMBER + "/roles/{roleId}", "G", void=True),
    "op_edit_member": Op("PATCH", _MEMBER, "G", _payload),
    "op_edit_current_member": Op("PATCH", "/guilds/{guildId}/members/@me", "G", _payload),
    # Channels and threads
    "op_create_channel": Op("POST", "/guilds/{guildId}/channels", "G", _payload),
    "op_edit_channel": Op("PATCH", "/channels/{channelId}", "C", _payload),
    "op_delete_channel": Op("DELETE", "/channels/{channelId}", "C"),
    "op_create_thread": Op("POST", "/channels/{channelId}/threads", "C", _payload),
    "op_create_thread_from_message": Op("POST", _MSG + "/threads", "C", _payload),
    "op_join_thread": Op("PUT", "/channels/{threadId}/thread-members/@me", "T", void=True),
    "op_leave_thread": Op("DELETE", "/channels/{threadId}/thread-members/@me", "T", void=True),
    "op_add_thread_member": Op("PUT", "/channels/{threadId}/thread-members/{userId}", "T", void=True),
    "op_remove_thread_member": Op("DELETE", "/channels/{threadId}/thread-members/{userId}", "T", void=True),
    # Webhooks
    "op_execute_webhook": Op(
        "POST", "/webhooks/{webhookId}/{token}", "W", _webhook, query=_webhook_query, more_scope=_webhook_thread
    ),
    "op_edit_webhook": Op("PATCH", "/webhooks/{webhookId}/{token?}", "W", _payload, more_scope=_webhook_target),
    "op_delete_webhook": Op("DELETE", "/webhooks/{webhookId}/{token?}", "W", void=True),
}
"""Every Discord operation by name."""
