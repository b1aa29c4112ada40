from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.actors.isolate.op_args import OpError
from flora.actors.isolate.op_components import components
from flora.actors.isolate.ops import MULTIPART, OPS, CommandMemory, RestPlan, plan

C, G, W = (("channel", "2"),), (("guild", "3"),), (("webhook", "9"),)
MSG = {"channelId": "2", "messageId": "1"}
COMMAND = {"name": "hello", "description": "Says hello"}
COMMAND_BODY = {"type": 1, "name": "hello", "description": "Says hello", "options": []}
APP = "/applications/{app}/guilds/3/commands"

# op → (arguments, "METHOD route", scope, body, query, reason)
GOLDEN: dict[str, tuple[dict[str, Any], str, Any, Any, Any, Any]] = {
    "op_send_message": (
        {"channelId": "2", "content": "hi", "messageId": "1"},
        *("POST /channels/2/messages", C, {"content": "hi", "message_reference": {"message_id": "1"}}, (), None),
    ),
    "op_edit_message": (MSG | {"flags": 4}, "PATCH /channels/2/messages/1", C, {"flags": 4}, (), None),
    "op_delete_message": (MSG | {"reason": 5}, "DELETE /channels/2/messages/1", C, None, (), None),
    "op_bulk_delete_messages": (
        {"channelId": "2", "messageIds": ["1", "4"]},
        *("POST /channels/2/messages/bulk-delete", C, {"messages": ["1", "4"]}, (), None),
    ),
    "op_pin_message": (MSG, "PUT /channels/2/messages/pins/1", C, None, (), None),
    "op_unpin_message": (MSG, "DELETE /channels/2/messages/pins/1", C, None, (), None),
    "op_crosspost_message": (MSG, "POST /channels/2/messages/1/crosspost", C, None, (), None),
    "op_fetch_message": (MSG, "GET /channels/2/messages/1", C, None, (), None),
    "op_fetch_messages": (
        {"channelId": "2", "limit": 50.9, "before": "7", "around": "8"},
        *("GET /channels/2/messages", C, None, (("limit", "50"), ("around", "8")), None),
    ),
    "op_add_reaction": (
        MSG | {"emoji": "🔥"},
        *("PUT /channels/2/messages/1/reactions/%F0%9F%94%A5/@me", C, None, (), None),
    ),
    "op_remove_reaction": (
        MSG | {"emoji": "<a:yes:8>", "userId": "7"},
        *("DELETE /channels/2/messages/1/reactions/yes:8/7", C, None, (), None),
    ),
    "op_clear_reactions": (MSG, "DELETE /channels/2/messages/1/reactions", C, None, (), None),
    "op_send_interaction_response": (
        {"interactionId": "5", "token": "tok", "content": "x", "ephemeral": True, "flags": 4},
        *("POST /interactions/5/tok/callback", (), {"type": 4, "data": {"content": "x", "flags": 68}}, (), None),
    ),
    "op_defer_interaction_response": (
        {"interactionId": "5", "token": "tok", "ephemeral": True},
        *("POST /interactions/5/tok/callback", (), {"type": 5, "data": {"flags": 64}}, (), None),
    ),
    "op_update_interaction_response": (
        {"interactionId": "5", "token": "tok", "components": []},
        *("POST /interactions/5/tok/callback", (), {"type": 7, "data": {"components": []}}, (), None),
    ),
    "op_edit_original_interaction_response": (
        {"token": "tok", "content": ""},
        *("PATCH /webhooks/{app}/tok/messages/@original", (), {"content": ""}, (), None),
    ),
    "op_delete_original_interaction_response": (
        {"token": "tok"},
        *("DELETE /webhooks/{app}/tok/messages/@original", (), None, (), None),
    ),
    "op_create_followup_message": (
        {"token": "tok", "content": "x", "flags": 64},
        *("POST /webhooks/{app}/tok", (), {"content": "x", "flags": 64}, (("wait", "true"),), None),
    ),
    "op_edit_followup_message": (
        {"token": "tok", "messageId": "1", "embeds": [{"title": "t"}]},
        *("PATCH /webhooks/{app}/tok/messages/1", (), {"embeds": [{"title": "t"}]}, (), None),
    ),
    "op_delete_followup_message": (
        {"token": "tok", "messageId": "1"},
        *("DELETE /webhooks/{app}/tok/messages/1", (), None, (), None),
    ),
    "op_upsert_guild_commands": (
        {"guildId": "3", "commands": [COMMAND]},
        *(f"PUT {APP}", G, [COMMAND_BODY], (), None),
    ),
    "op_create_guild_command": ({"guildId": "3", "command": COMMAND}, f"POST {APP}", G, COMMAND_BODY, (), None),
    "op_edit_guild_command": (
        {"guildId": "3", "commandId": "6", "command": COMMAND},
        *(f"PATCH {APP}/6", G, COMMAND_BODY, (), None),
    ),
    "op_delete_guild_command": ({"guildId": "3", "commandId": "6"}, f"DELETE {APP}/6", G, None, (), None),
    "op_get_guild_commands": ({"guildId": "3"}, f"GET {APP}", G, None, (), None),
    "op_get_guild_command": ({"guildId": "3", "commandId": "6"}, f"GET {APP}/6", G, None, (), None),
    "op_edit_guild_command_permissions": (
        {"guildId": "3", "commandId": "6", "permissions": [{"id": "7", "type": 2, "permission": True}]},
        f"PUT {APP}/6/permissions",
        G,
        {"permissions": [{"id": "7", "type": 2, "permission": True}]},
        (),
        None,
    ),
    "op_get_guild_commands_permissions": ({"guildId": "3"}, f"GET {APP}/permissions", G, None, (), None),
    "op_get_guild_command_permissions": (
        {"guildId": "3", "commandId": "6"},
        *(f"GET {APP}/6/permissions", G, None, (), None),
    ),
    "op_kick_member": (
        {"guildId": "3", "userId": "7", "reason": "spam"},
        *("DELETE /guilds/3/members/7", G, None, (), "spam"),
    ),
    "op_ban_member": (
        {"guildId": "3", "userId": "7"},
        *("PUT /guilds/3/bans/7", G, {"delete_message_seconds": 0}, (), None),
    ),
    "op_unban_member": ({"guildId": "3", "userId": "7"}, "DELETE /guilds/3/bans/7", G, None, (), None),
    "op_add_member_role": (
        {"guildId": "3", "userId": "7", "roleId": "8"},
        *("PUT /guilds/3/members/7/roles/8", G, None, (), None),
    ),
    "op_remove_member_role": (
        {"guildId": "3", "userId": "7", "roleId": "8"},
        *("DELETE /guilds/3/members/7/roles/8", G, None, (), None),
    ),
    "op_edit_member": (
        {"guildId": "3", "userId": "7", "payload": {"nick": None}},
        *("PATCH /guilds/3/members/7", G, {"nick": None}, (), None),
    ),
    "op_edit_current_member": (
        {"guildId": "3", "payload": {"nick": "n"}, "reason": "r"},
        *("PATCH /guilds/3/members/@me", G, {"nick": "n"}, (), "r"),
    ),
    "op_create_channel": (
        {"guildId": "3", "payload": {"name": "n", "type": 0}},
        *("POST /guilds/3/channels", G, {"name": "n", "type": 0}, (), None),
    ),
    "op_edit_channel": ({"channelId": "2", "payload": {"name": "n"}}, "PATCH /channels/2", C, {"name": "n"}, (), None),
    "op_delete_channel": ({"channelId": "2", "reason": "r"}, "DELETE /channels/2", C, None, (), "r"),
    "op_create_thread": (
        {"channelId": "2", "payload": {"name": "n", "type": 11}},
        *("POST /channels/2/threads", C, {"name": "n", "type": 11}, (), None),
    ),
    "op_create_thread_from_message": (
        MSG | {"payload": {"name": "n"}},
        *("POST /channels/2/messages/1/threads", C, {"name": "n"}, (), None),
    ),
    "op_join_thread": ({"threadId": "2"}, "PUT /channels/2/thread-members/@me", C, None, (), None),
    "op_leave_thread": ({"threadId": "2"}, "DELETE /channels/2/thread-members/@me", C, None, (), None),
    "op_add_thread_member": (
        {"threadId": "2", "userId": "7"},
        *("PUT /channels/2/thread-members/7", C, None, (), None),
    ),
    "op_remove_thread_member": (
        {"threadId": "2", "userId": "7"},
        *("DELETE /channels/2/thread-members/7", C, None, (), None),
    ),
    "op_execute_webhook": (
        {"webhookId": "9", "token": "tok", "content": "x", "wait": True, "threadId": "2", "avatarUrl": "u"},
        "POST /webhooks/9/tok",
        W + C,
        {"content": "x", "avatar_url": "u"},
        (("wait", "true"), ("thread_id", "2")),
        None,
    ),
    "op_edit_webhook": (
        {"webhookId": "9", "payload": {"channel_id": "2"}, "reason": "r"},
        *("PATCH /webhooks/9", W + C, {"channel_id": "2"}, (), "r"),
    ),
    "op_delete_webhook": ({"webhookId": "9", "token": "tok"}, "DELETE /webhooks/9/tok", W, None, (), None),
}
READS = {name for name in GOLDEN if name.startswith(("op_fetch", "op_get"))}


def refusal(name: str, args: list[Any], guild_id: str = "3") -> dict[str, Any]:
    with pytest.raises(OpError) as caught:
        plan(name, args, guild_id)
    return caught.value.details()


def body_of(name: str, args: dict[str, Any]) -> Any:
    body = plan(name, [args], "3").body
    assert body is not None
    return orjson.loads(body)


@pytest.mark.parametrize("name", GOLDEN)
def test_given_an_operation_when_planned_then_the_rest_call_is_exact(name: str) -> None:
    args, line, scope, body, query, reason = GOLDEN[name]

    found = plan(name, [args], "3")

    assert f"{found.method} {found.route}" == line
    assert found.scope == scope
    assert (None if found.body is None else orjson.loads(found.body)) == body
    assert found.query == query
    assert found.reason == reason
    assert found.retry is (name in READS)


def test_given_the_golden_table_then_every_operation_is_in_it() -> None:
    assert set(GOLDEN) == set(OPS)


def test_given_a_plan_when_put_into_a_frame_then_the_row_has_the_documented_order() -> None:
    asked = plan("op_kick_member", [{"guildId": "3", "userId": "7", "reason": "spam"}], "3")

    assert asked.row(12, "3") == (12, "3", "DELETE", "/guilds/3/members/7", G, None, (), "spam", False)
    assert asked.void


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("op_send_message", [], "arguments: expected an object"),
        ("op_send_message", ["2"], "arguments: expected an object"),
        ("op_send_message", [{"content": "x"}], "channel_id: missing"),
        ("op_send_message", [{"channelId": 2, "content": "x"}], "channel_id: expected a string"),
        ("op_send_message", [{"channelId": "2", "content": 5}], "content: expected a string"),
        ("op_send_message", [{"channelId": "2", "embeds": {}}], "embeds: expected an array"),
        ("op_edit_member", [{"guildId": "3", "userId": "7"}], "payload: missing"),
        ("op_edit_followup_message", [{"token": "tok", "content": "x"}], "message_id: missing"),
    ],
)
def test_given_arguments_of_the_wrong_kind_when_planned_then_a_type_error_names_them(
    name: str, args: list[Any], message: str
) -> None:
    assert refusal(name, args) == {"message": message, "name": "TypeError"}


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("op_send_message", {"channelId": "2a", "content": "x"}, "channel_id: not a valid id"),
        ("op_send_message", {"channelId": "0", "content": "x"}, "channel_id: not a valid id"),
        ("op_send_message", {"channelId": "18446744073709551616", "content": "x"}, "channel_id: not a valid id"),
        (
            "op_send_message",
            {"channelId": "2"},
            "message: needs at least one of content, embeds, attachments, components",
        ),
        (
            "op_send_message",
            {"channelId": "2", "embeds": [], "components": []},
            "message: needs at least one of content, embeds, attachments, components",
        ),
        ("op_edit_message", MSG, "message: needs at least one of content, embeds, components, allowedMentions, flags"),
        ("op_add_reaction", MSG | {"emoji": ".."}, "emoji: neither a Unicode emoji nor <:name:id>"),
        ("op_add_reaction", MSG | {"emoji": "<:x:y>"}, "emoji: neither a Unicode emoji nor <:name:id>"),
        ("op_delete_followup_message", {"token": "..", "messageId": "1"}, "token: not a valid token"),
        ("op_delete_followup_message", {"token": "a?b", "messageId": "1"}, "token: not a valid token"),
        (
            "op_send_message",
            {"channelId": "2", "embeds": [{"timestamp": "yesterday"}]},
            "embeds[0].timestamp: not an RFC 3339 timestamp",
        ),
        (
            "op_send_message",
            {"channelId": "2", "attachments": [{"Base64": {"data": "%", "filename": "a"}}]},
            "attachments[0].base64.data: not valid Base64",
        ),
        (
            "op_send_message",
            {"channelId": "2", "attachments": [{"Url": {"url": "http://x/"}}]},
            "attachments[0].url: attachments by URL are not offered; pass the data as Base64",
        ),
        ("op_create_guild_command", {"guildId": "3", "command": {"name": "x"}}, "command.description: required"),
        ("op_bulk_delete_messages", {"channelId": "2", "messageIds": ["1", "x"]}, "message_ids[1]: not a valid id"),
    ],
)
def test_given_values_that_cannot_be_when_planned_then_invalid_input_names_the_field(
    name: str, args: dict[str, Any], message: str
) -> None:
    assert refusal(name, [args]) == {"message": message, "code": "INVALID_INPUT"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"content": "x" * 2001}, "content has 2001 characters, at most 2000 are allowed"),
        ({"embeds": [{}] * 11}, "11 embeds, at most 10 are allowed"),
        (
            {"embeds": [{"description": "x" * 4000, "footer": {"text": "y" * 2001}}]},
            "embeds[0] has 6001 characters of text, at most 6000 are allowed",
        ),
    ],
)
def test_given_a_message_over_discords_limits_when_planned_then_it_is_refused_without_a_request(
    args: dict[str, Any], message: str
) -> None:
    found = refusal("op_send_message", [{"channelId": "2"} | args])

    assert found == {"message": message, "code": "DISCORD_HTTP_ERROR", "status": 500, "discord_code": 0}


def test_given_another_guilds_id_when_planned_then_it_is_forbidden_at_once() -> None:
    assert refusal("op_kick_member", [{"guildId": "4", "userId": "7"}])["code"] == "SCOPE_FORBIDDEN"
    assert refusal("op_kick_member", [{"guildId": "3", "userId": "7"}], guild_id="")["code"] == "SCOPE_FORBIDDEN"


def test_given_an_id_with_leading_zeros_when_planned_then_route_and_scope_have_its_canonical_form() -> None:
    found = plan("op_delete_channel", [{"channelId": "002"}], "3")

    assert (found.route, found.scope) == ("/channels/2", C)


def test_given_embeds_in_camel_case_when_planned_then_discord_gets_snake_case_without_halves() -> None:
    embed = {
        "title": "t",
        "color": 255.7,
        "timestamp": "2024-01-01T00:00:00Z",
        "footer": {"iconUrl": "i"},
        "author": {"name": "a", "iconUrl": "i", "icon_url": "ignored"},
        "image": {},
        "thumbnail": {"url": "u"},
        "fields": [{"name": "n", "value": "v"}, {"name": "n", "value": "v", "inline": True}],
        "unknown": 1,
    }

    assert body_of("op_send_message", {"channelId": "2", "embeds": [embed]})["embeds"] == [
        {
            "title": "t",
            "color": 255,
            "timestamp": "2024-01-01T00:00:00Z",
            "author": {"name": "a", "icon_url": "i"},
            "thumbnail": {"url": "u"},
            "fields": [
                {"name": "n", "value": "v", "inline": False},
                {"name": "n", "value": "v", "inline": True},
            ],
        }
    ]


def test_given_allowed_mentions_when_planned_then_unknown_words_and_bad_ids_are_dropped() -> None:
    mentions = {"parse": ["users", "bots"], "roles": ["5", "x"], "repliedUser": False}

    body = body_of("op_send_message", {"channelId": "2", "content": "x", "allowedMentions": mentions})

    assert body["allowed_mentions"] == {"parse": ["users"], "roles": ["5"], "replied_user": False}


def test_given_unknown_flag_bits_when_planned_then_they_are_dropped() -> None:
    assert body_of("op_edit_message", MSG | {"flags": 1 << 40 | 1 << 15 | 4})["flags"] == 1 << 15 | 4


@pytest.mark.parametrize("tag", ["Base64", "base64"])
def test_given_attachments_when_planned_then_the_body_carries_files_beside_the_payload(tag: str) -> None:
    attachment = {tag: {"data": "aGk=", "filename": "hi.txt", "description": "d"}}

    found = plan("op_send_message", [{"channelId": "2", "attachments": [attachment]}], "3")

    assert found.body is not None
    assert found.body.startswith(MULTIPART)
    assert orjson.loads(found.body.removeprefix(MULTIPART)) == {
        "payload": {"attachments": [{"id": 0, "filename": "hi.txt", "description": "d"}]},
        "files": [{"name": "hi.txt", "data": "aGk="}],
    }


def test_given_a_payload_that_looks_like_files_when_planned_then_it_stays_json() -> None:
    found = plan("op_edit_channel", [{"channelId": "2", "payload": {"payload": {}, "files": []}}], "3")

    assert found.body == '{"payload":{},"files":[]}'


def test_given_options_without_or_with_unknown_type_when_planned_then_they_are_strings() -> None:
    options = [
        {"name": "a", "description": "d", "type": kind}
        for kind in (None, "user", "integer", "number", "boolean", "subcommand_group")
    ]

    body = body_of("op_create_guild_command", {"guildId": "3", "command": COMMAND | {"options": options}})

    assert [option["type"] for option in body["options"]] == [3, 3, 4, 10, 5, 2]


def test_given_a_failed_registration_when_repeated_then_it_is_sent_again() -> None:
    def asked(text: str) -> RestPlan:
        commands = [COMMAND | {"description": text}]
        return plan("op_upsert_guild_commands", [{"guildId": "3", "commands": commands}], "3")

    memory = CommandMemory()

    assert not memory.unchanged(asked("one"))
    assert not memory.unchanged(asked("one"))  # nobody said that it succeeded
    memory.succeeded(asked("one"))
    assert memory.unchanged(asked("one"))
    assert not memory.unchanged(asked("two"))
    memory.forget()
    assert not memory.unchanged(asked("one"))


BUTTON = {"type": 2, "custom_id": "go", "id": 77}
SELECT = {"type": 3, "custom_id": "s", "options": [{"label": "l", "value": "v", "emoji": "<:n:8>"}]}
BUILT_BUTTON = {"type": 2, "style": 1, "custom_id": "go"}
BUILT_SELECT = {
    "type": 3,
    "custom_id": "s",
    "options": [{"label": "l", "value": "v", "emoji": {"id": "8", "name": "n", "animated": False}}],
}


@pytest.mark.parametrize(
    ("given_components", "built"),
    [
        ([BUTTON], [{"type": 1, "components": [BUILT_BUTTON]}]),
        ([{"type": 1, "components": [BUTTON, SELECT]}], [{"type": 1, "components": [BUILT_SELECT]}]),
        (
            [{"type": 2, "style": 5, "url": "u", "label": "l", "emoji": "🔥"}],
            [{"type": 1, "components": [{"type": 2, "style": 5, "url": "u", "label": "l", "emoji": {"name": "🔥"}}]}],
        ),
        (
            [{"type": 8, "custom_id": "c", "channel_types": [0], "default_channels": ["2", "x"]}],
            [
                {
                    "type": 1,
                    "components": [
                        {
                            "type": 8,
                            "custom_id": "c",
                            "channel_types": [0],
                            "default_values": [{"id": "2", "type": "channel"}],
                        }
                    ],
                }
            ],
        ),
        (
            [{"type": 17, "accent_color": 1, "components": [{"type": 14, "divider": True, "spacing": "large"}]}],
            [{"type": 17, "accent_color": 1, "components": [{"type": 14, "divider": True, "spacing": 2}]}],
        ),
        (
            [{"type": 9, "components": [{"content": "t"}], "accessory": {"type": 11, "media": {"url": "u"}}}],
            [
                {
                    "type": 9,
                    "components": [{"type": 10, "content": "t"}],
                    "accessory": {"type": 11, "media": {"url": "u"}},
                }
            ],
        ),
        (
            [{"type": 12, "items": [{"media": {"url": "u", "x": 1}, "spoiler": True}]}],
            [{"type": 12, "items": [{"media": {"url": "u"}, "spoiler": True}]}],
        ),
        (
            [{"type": 18, "label": "l", "component": {"type": 4, "custom_id": "t", "style": 2}}],
            [{"type": 18, "label": "l", "component": {"type": 4, "custom_id": "t", "style": 2}}],
        ),
    ],
)
def test_given_components_when_checked_then_discord_gets_what_it_knows(
    given_components: list[Any], built: list[Any]
) -> None:
    assert components(given_components) == built


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"type": 4, "custom_id": "t"}, "components[0].type"),
        ({"type": 11, "media": {"url": "u"}}, "components[0].type"),
        ({"custom_id": "t"}, "components[0].type"),
        ({"type": "2"}, "components[0].type"),
        ({"type": 99}, "components[0].type"),
        ({"type": 2}, "components[0].custom_id"),
        ({"type": 2, "style": 5}, "components[0].url"),
        ({"type": 2, "style": 6, "sku_id": "x"}, "components[0].sku_id"),
        ({"type": 3, "custom_id": "s"}, "components[0].options"),
        ({"type": 5, "custom_id": "s", "max_values": 256}, "components[0].max_values"),
        ({"type": 1, "components": [SELECT, SELECT]}, "components[0].components"),
        ({"type": 1, "components": [{"type": 10, "content": "t"}]}, "components[0].components[0].type"),
        ({"type": 9, "components": [], "accessory": SELECT}, "components[0].accessory.type"),
        ({"type": 14}, "components[0].divider"),
        ({"type": 14, "divider": True, "spacing": "huge"}, "components[0].spacing"),
        ({"type": 17, "components": [BUTTON]}, "components[0].components[0].type"),
        ("text", "components[0]"),
    ],
)
def test_given_a_component_in_the_wrong_place_or_shape_then_invalid_input_names_it(bad: Any, field: str) -> None:
    with pytest.raises(OpError) as caught:
        components([bad])

    assert caught.value.code == "INVALID_INPUT"
    assert str(caught.value).startswith(field + ": ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
FIELDS = sorted({key for args, *_ in GOLDEN.values() for key in args} | {"embeds", "attachments", "components"})


@given(name=st.sampled_from(sorted(OPS)), args=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6))
def test_given_any_arguments_when_planned_then_a_call_or_a_refusal_and_nothing_else(
    name: str, args: dict[str, Any]
) -> None:
    try:
        found = plan(name, [GOLDEN[name][0] | args], "3")
    except OpError:
        return
    assert ".." not in found.route
    assert found.route.startswith("/")
