"""Threads: started, joined, left, listed. They are edited and deleted as channels."""

from __future__ import annotations

from typing import Any

from flora.http.simulator import errors, forms, shapes
from flora.http.simulator.errors import ApiError, JsonObject
from flora.http.simulator.model import Channel
from flora.http.simulator.permissions import Permission
from flora.http.simulator.rest.routing import Call, Routes
from flora.http.simulator.world import now_iso

DEFAULT_ARCHIVE_MINUTES = 4320
_ARCHIVE_CHOICES = (60, 1440, 4320, 10080)


def register(routes: Routes) -> None:
    """Adds this module's routes."""
    routes.add("POST", "/channels/{channel_id}/threads")(create)
    routes.add("POST", "/channels/{channel_id}/messages/{message_id}/threads")(create_from_message)
    routes.add("GET", "/guilds/{guild_id}/threads/active")(active)
    routes.add("GET", "/channels/{channel_id}/threads/archived/public")(archived)
    routes.add("GET", "/channels/{channel_id}/threads/archived/private")(archived)
    members = "/channels/{channel_id}/thread-members"
    routes.add("GET", members)(list_members)
    routes.add("GET", members + "/{user_id}")(fetch_member)
    routes.add("PUT", members + "/{user_id}")(add_member)
    routes.add("DELETE", members + "/{user_id}")(remove_member)


def start(call: Call, parent: Channel, name: str, kind: int, owner_id: str, thread_id: str | None = None) -> Channel:
    """Makes a thread and lets its owner in.

    Raises:
        ApiError: 50035 for a bad name or archive duration.
    """
    form = call.form
    if not 1 <= len(name) <= 100:
        raise errors.invalid_form(("name",), "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 100 in length.")
    minutes = form.get("auto_archive_duration") or DEFAULT_ARCHIVE_MINUTES
    if minutes not in _ARCHIVE_CHOICES:
        text = f"Value must be one of {_ARCHIVE_CHOICES}."
        raise errors.invalid_form(("auto_archive_duration",), "BASE_TYPE_CHOICES", text)
    made_at = now_iso()
    data: JsonObject = {
        "id": thread_id or call.sim.world.ids.next(), "guild_id": parent.guild_id, "parent_id": parent.id,
        "owner_id": owner_id, "name": name, "type": kind, "last_message_id": None, "message_count": 0,
        "total_message_sent": 0, "member_count": 1, "flags": 0, "permission_overwrites": [],
        "rate_limit_per_user": int(form.get("rate_limit_per_user") or 0), "applied_tags": [],
        "thread_metadata": {
            "archived": False, "auto_archive_duration": minutes, "archive_timestamp": made_at, "locked": False,
            "create_timestamp": made_at,
        },
    }  # fmt: skip
    if kind == shapes.PRIVATE_THREAD:
        data["thread_metadata"]["invitable"] = bool(form.get("invitable", True))
    thread = call.sim.world.add_thread(parent, data)
    thread.thread_members[owner_id] = _membership(thread, owner_id)
    return thread


def _membership(thread: Channel, user_id: str) -> JsonObject:
    return {"id": thread.id, "user_id": user_id, "join_timestamp": now_iso(), "flags": 0}


def create(call: Call) -> Any:
    """A thread without a message, or a forum post with its first one."""
    parent = call.channel()
    if parent.data["type"] == shapes.FORUM:
        return _create_post(call, parent)
    if parent.is_thread or parent.data["type"] == shapes.CATEGORY:
        raise ApiError(400, 50024, "Cannot execute action on this channel type")
    kind = int(call.form.get("type") or shapes.PRIVATE_THREAD)
    call.channel(
        Permission.CREATE_PRIVATE_THREADS if kind == shapes.PRIVATE_THREAD else Permission.CREATE_PUBLIC_THREADS
    )
    if kind not in shapes.THREAD_TYPES:
        raise errors.invalid_form(("type",), "BASE_TYPE_CHOICES", "Value must be one of {10, 11, 12}.")
    return start(call, parent, str(call.form.get("name") or ""), kind, call.user_id).data


def _create_post(call: Call, parent: Channel) -> JsonObject:
    call.channel(Permission.SEND_MESSAGES)
    body = call.form.get("message") or {}
    forms.check_message(body, has_attachments=bool(call.uploads))
    thread = start(call, parent, str(call.form.get("name") or ""), shapes.PUBLIC_THREAD, call.user_id)
    author = call.sim.world.users[call.user_id]
    message = call.sim.posting.post(thread, author, body, attachments=call.store_uploads(thread))
    return {**thread.data, "message": message}


def create_from_message(call: Call) -> Any:
    parent = call.channel(Permission.CREATE_PUBLIC_THREADS)
    message = call.message(parent)
    if message["id"] in call.sim.world.channels:
        raise ApiError(400, 160004, "A thread has already been created for this message")
    kind = shapes.ANNOUNCEMENT_THREAD if parent.data["type"] == shapes.ANNOUNCEMENT else shapes.PUBLIC_THREAD
    thread = start(call, parent, str(call.form.get("name") or ""), kind, call.user_id, message["id"])
    message["flags"] |= 1 << 5
    message["thread"] = thread.data
    call.sim.posting.announce("MESSAGE_UPDATE", parent, message)
    return thread.data


def active(call: Call) -> Any:
    guild = call.guild()
    threads = [t for t in guild.threads() if not t["thread_metadata"]["archived"]]
    mine = [c.thread_members[call.user_id] for c in guild.channels.values() if call.user_id in c.thread_members]
    return {"threads": threads, "members": mine, "has_more": False}


def archived(call: Call) -> Any:
    parent = call.channel(Permission.READ_MESSAGE_HISTORY)
    guild = call.sim.world.guild(parent.guild_id)
    threads = [t for t in guild.threads() if t["parent_id"] == parent.id and t["thread_metadata"]["archived"]]
    return {"threads": threads, "members": [], "has_more": False}


def _thread(call: Call) -> Channel:
    thread = call.channel()
    if not thread.is_thread:
        raise ApiError(400, 50024, "Cannot execute action on this channel type")
    return thread


def list_members(call: Call) -> Any:
    return list(_thread(call).thread_members.values())


def fetch_member(call: Call) -> Any:
    found = _thread(call).thread_members.get(call.id("user_id"))
    if found is None:
        raise errors.unknown("Member")
    return found


def add_member(call: Call) -> None:
    thread = _thread(call)
    if thread.data["thread_metadata"]["archived"]:
        raise ApiError(400, 50083, "Thread is archived")
    user_id = call.id("user_id")
    call.sim.world.member(call.sim.world.guild(thread.guild_id), user_id)
    thread.thread_members.setdefault(user_id, _membership(thread, user_id))
    _announce(call, thread, added=[thread.thread_members[user_id]], removed=[])


def remove_member(call: Call) -> None:
    thread = _thread(call)
    user_id = call.id("user_id")
    if user_id != call.user_id:
        call.channel(Permission.MANAGE_THREADS)
    if thread.thread_members.pop(user_id, None) is not None:
        _announce(call, thread, added=[], removed=[user_id])


def _announce(call: Call, thread: Channel, *, added: list[JsonObject], removed: list[str]) -> None:
    thread.data["member_count"] = len(thread.thread_members)
    data = {
        "id": thread.id, "guild_id": thread.guild_id, "member_count": thread.data["member_count"],
        "added_members": added, "removed_member_ids": removed,
    }  # fmt: skip
    call.sim.world.emit("THREAD_MEMBERS_UPDATE", data, thread.guild_id)
