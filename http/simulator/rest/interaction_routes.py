"""Responses to interactions, and the messages that follow them under the interaction's token."""

from __future__ import annotations

from typing import Any

from flora.http.simulator import errors, forms, interactions, shapes
from flora.http.simulator.errors import JsonObject
from flora.http.simulator.interactions import Interaction
from flora.http.simulator.model import Channel
from flora.http.simulator.posting import CHAT_INPUT_COMMAND, CONTEXT_MENU_COMMAND, DEFAULT, REPLY
from flora.http.simulator.rest.routing import Auth, Call, Routes

_ALLOWED: dict[int, frozenset[int]] = {
    interactions.COMMAND: frozenset({4, 5, 9, 10, 12}),
    interactions.COMPONENT: frozenset({4, 5, 6, 7, 9, 10, 12}),
    interactions.AUTOCOMPLETE: frozenset({8}),
    interactions.MODAL_SUBMIT: frozenset({4, 5, 6, 7, 10, 12}),
}


def register(routes: Routes) -> None:
    """Adds this module's routes. Interaction endpoints do not count towards the bot's global limit."""
    callback = "/interactions/{interaction_id}/{token}/callback"
    routes.add("POST", callback, auth=Auth.NONE, counts_globally=False)(respond)


def respond(call: Call) -> Any:
    """The first response to an interaction."""
    found = call.sim.interactions.to_respond(call.id("interaction_id"), call.params["token"])
    body = call.form
    kind = body.get("type")
    if kind not in _ALLOWED[found.kind]:
        allowed = tuple(sorted(_ALLOWED[found.kind]))
        raise errors.invalid_form(("type",), "BASE_TYPE_CHOICES", f"Value must be one of {allowed}.")
    data = body.get("data") or {}
    message = _carry_out(call, found, kind, data)
    found.response_type = kind
    found.responded.set()
    call.sim.stats.replied(found.id, call.arrived_at)
    if not call.flag("with_response"):
        return None
    answer: JsonObject = {"interaction": {"id": found.id, "type": found.kind}, "resource": {"type": kind}}
    if message is not None:
        answer["interaction"] |= {
            "response_message_id": message["id"],
            "response_message_loading": found.deferred,
            "response_message_ephemeral": bool(message["flags"] & shapes.EPHEMERAL),
        }
        answer["resource"]["message"] = message
    return answer


def _carry_out(call: Call, found: Interaction, kind: int, data: JsonObject) -> JsonObject | None:
    """Does what a response says.

    Returns:
        The message that came to be or was changed.
    """
    channel = call.sim.world.channel(found.channel_id)
    if kind in (interactions.MESSAGE, interactions.DEFERRED_MESSAGE):
        deferred = kind == interactions.DEFERRED_MESSAGE
        body = {"flags": int(data.get("flags") or 0) & shapes.EPHEMERAL | shapes.LOADING} if deferred else data
        message = post_under(call, found, channel, body, check=not deferred, first=True)
        found.response_message_id, found.deferred = message["id"], deferred
        return message
    if kind in (interactions.UPDATE_MESSAGE, interactions.DEFERRED_UPDATE):
        source = channel.messages.get(found.source_message_id or "")
        if source is None:
            raise errors.unknown("Message")
        found.response_message_id = source["id"]
        if kind == interactions.UPDATE_MESSAGE:
            return edit_under(call, channel, source, data)
        return None
    if kind == interactions.MODAL:
        _check_modal(data)
        found.modal = data
        call.sim.world.emit(
            "SIM_MODAL", {"interaction_id": found.id, "user_id": found.user_id, "modal": data}, found.guild_id
        )
    if kind == interactions.AUTOCOMPLETE_RESULT:
        found.choices = list(data.get("choices") or [])[:25]
    return None


def _check_modal(data: JsonObject) -> None:
    faults = errors.FormErrors()
    for key, limit in (("custom_id", 100), ("title", 45)):
        if not data.get(key):
            faults.required("data", key)
        elif len(str(data[key])) > limit:
            faults.too_long(limit, "data", key)
    if not 1 <= len(data.get("components") or []) <= 5:
        faults.add(("data", "components"), "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 5 in length.")
    faults.raise_if_any()


def post_under(
    call: Call, found: Interaction, channel: Channel, body: JsonObject, *, check: bool = True, first: bool = False
) -> JsonObject:
    """Posts a message under an interaction's token: the response or a followup."""
    if check:
        forms.check_message(body, has_attachments=bool(call.uploads))
    world = call.sim.world
    user = world.users[found.user_id]
    metadata: JsonObject = {
        "id": found.id,
        "type": found.kind,
        "user": user,
        "authorizing_integration_owners": {"0": found.guild_id},
    }
    extra: JsonObject = {
        "application_id": world.config.application_id, "webhook_id": world.config.application_id,
        "interaction_metadata": metadata,
    }  # fmt: skip
    kind = DEFAULT
    if found.kind == interactions.COMMAND and first:
        kind = CHAT_INPUT_COMMAND if found.data.get("type", 1) == 1 else CONTEXT_MENU_COMMAND
        extra["interaction"] = {"id": found.id, "type": found.kind, "name": found.data["name"], "user": user}
    elif found.source_message_id is not None and first:
        kind = REPLY
        metadata["interacted_message_id"] = found.source_message_id
        body = {**body, "message_reference": {"message_id": found.source_message_id}}
    elif not first and found.response_message_id in channel.messages:
        metadata["original_response_message_id"] = found.response_message_id
        body = {**body, "message_reference": {"message_id": found.response_message_id}}
    files = call.sim.attachments.attach(call.uploads, body.get("attachments"), call.sim.base_url, channel.id)
    body = forms.settable(body, also=shapes.EPHEMERAL | shapes.LOADING)
    body = {**body, "allowed_mentions": body.get("allowed_mentions") or {"parse": []}}
    return call.sim.posting.post(channel, world.users[world.bot_id], body, kind=kind, attachments=files, extra=extra)


def edit_under(call: Call, channel: Channel, message: JsonObject, body: JsonObject) -> JsonObject:
    """Edits a message under an interaction's token."""
    forms.check_message(body, has_attachments=True, may_be_empty=True)
    declared = body.get("attachments")
    attachments = None
    if declared is not None or call.uploads:
        kept_ids = {str(a.get("id")) for a in declared or [] if isinstance(a, dict)}
        kept = [a for a in message["attachments"] if declared is None or a["id"] in kept_ids]
        attachments = kept + call.sim.attachments.attach(call.uploads, declared, call.sim.base_url, channel.id)
    message["flags"] &= ~shapes.LOADING
    return call.sim.posting.edit(channel, message, forms.settable(body), attachments=attachments)


def _addressed(call: Call) -> tuple[Interaction, Channel]:
    found = call.sim.interactions.by_token(call.params["token"])
    return found, call.sim.world.channel(found.channel_id)


def _message(call: Call, found: Interaction, channel: Channel) -> JsonObject:
    """`@original` or a followup, ephemeral ones too."""
    name = call.params["message_id"]
    message = channel.messages.get((found.response_message_id or "") if name == "@original" else name)
    if message is None:
        raise errors.unknown("Message")
    mine = (message.get("interaction_metadata") or {}).get("id") == found.id
    if not mine and message["id"] != found.response_message_id:
        raise errors.unknown("Message")
    return message


def followup(call: Call) -> Any:
    """Posts a followup; right after a deferral it fills in the waiting message, as on Discord."""
    found, channel = _addressed(call)
    waiting = channel.messages.get(found.response_message_id or "")
    if found.deferred and waiting is not None:
        forms.check_message(call.form, has_attachments=bool(call.uploads))
        found.deferred = False
        return edit_under(call, channel, waiting, {k: v for k, v in call.form.items() if k != "flags"})
    return post_under(call, found, channel, call.form)


def fetch(call: Call) -> Any:
    return _message(call, *_addressed(call))


def edit(call: Call) -> Any:
    found, channel = _addressed(call)
    message = _message(call, found, channel)
    if message["id"] == found.response_message_id:
        found.deferred = False
    return edit_under(call, channel, message, call.form)


def delete(call: Call) -> None:
    found, channel = _addressed(call)
    call.sim.posting.delete(channel, [_message(call, found, channel)["id"]])
