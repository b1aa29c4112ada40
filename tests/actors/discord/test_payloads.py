from __future__ import annotations

import orjson
import pytest

from flora.actors.discord.payloads import DROPPABLE, PAYLOADS, event_name, script_event

AUTHOR = {"id": "7", "username": "ada", "discriminator": "0", "avatar": "x", "global_name": "Ada"}
SCRIPT_AUTHOR = {"id": "7", "username": "ada", "discriminator": None, "bot": False}
RAW_MEMBER = {
    "roles": ["5", "6"],
    "nick": None,
    "avatar": "abc",
    "premium_since": "2024-01-01T00:00:00+00:00",
    "joined_at": "2023-01-02T03:04:05.678000+00:00",
    "deaf": True,
    "mute": False,
    "flags": 3,
    "pending": False,
    "communication_disabled_until": None,
}
SCRIPT_MESSAGE_MEMBER = {
    "user": SCRIPT_AUTHOR,
    "nick": None,
    "avatar": None,
    "roles": ["5", "6"],
    "joinedAt": "2023-01-02T03:04:05.678000+00:00",
    "premiumSince": None,
    "deaf": True,
    "mute": False,
    "flags": 0,
    "pending": False,
    "permissions": None,
    "communicationDisabledUntil": None,
}
RAW_MESSAGE = {
    "id": "1",
    "channel_id": "2",
    "guild_id": "3",
    "content": "héllo",
    "author": AUTHOR,
    "member": RAW_MEMBER,
    "timestamp": "2024-01-01T00:00:00+00:00",
    "attachments": [],
    "embeds": [],
    "mentions": [],
    "type": 0,
}
SCRIPT_MESSAGE = {
    "id": "1",
    "channelId": "2",
    "guildId": "3",
    "content": "héllo",
    "author": SCRIPT_AUTHOR,
    "member": SCRIPT_MESSAGE_MEMBER,
}
RAW_REACTION = {
    "user_id": "7",
    "channel_id": "2",
    "message_id": "1",
    "guild_id": "3",
    "emoji": {"id": None, "name": "🔥"},
    "member": {"user": AUTHOR, **RAW_MEMBER},
    "burst": False,
    "type": 0,
}
SCRIPT_REACTION = {
    "userId": "7",
    "channelId": "2",
    "messageId": "1",
    "guildId": "3",
    "emoji": {"name": "🔥"},
    "burst": False,
}
RAW_INTERACTION = {
    "id": "11",
    "token": "tok",
    "application_id": "12",
    "type": 2,
    "guild_id": "3",
    "channel_id": "2",
    "channel": {"id": "2", "type": 0},
    "member": {"user": AUTHOR, **RAW_MEMBER, "permissions": "2147483647"},
    "locale": "en-US",
    "guild_locale": "de",
    "version": 1,
}
SCRIPT_INTERACTION = {
    "interactionId": "11",
    "interactionToken": "tok",
    "applicationId": "12",
    "guildId": "3",
    "channelId": "2",
    "user": SCRIPT_AUTHOR,
    "member": {
        **SCRIPT_MESSAGE_MEMBER,
        "avatar": "abc",
        "premiumSince": "2024-01-01T00:00:00+00:00",
        "flags": 3,
        "permissions": "2147483647",
    },
    "locale": "en-US",
    "guildLocale": "de",
}
SLASH_DATA = {"id": "20", "name": "hello", "type": 1}
OPTIONS = [{"name": "who", "type": 6, "value": "7"}]
MODAL_DATA = {
    "custom_id": "m",
    "components": [{"type": 1, "components": [{"type": 4, "custom_id": "name", "value": "x"}]}],
}

GOLDEN = {
    "message": ("MESSAGE_CREATE", RAW_MESSAGE, "messageCreate", SCRIPT_MESSAGE),
    "message of a webhook": (
        "MESSAGE_CREATE",
        {k: v for k, v in RAW_MESSAGE.items() if k != "member"}
        | {"webhook_id": "9", "author": {"id": "9", "username": "hook", "discriminator": "0000", "bot": True}},
        "messageCreate",
        SCRIPT_MESSAGE
        | {"author": {"id": "9", "username": "hook", "discriminator": None, "bot": True}, "member": None},
    ),
    "author of the old kind": (
        "MESSAGE_CREATE",
        RAW_MESSAGE | {"author": AUTHOR | {"discriminator": "0042"}, "member": None},
        "messageCreate",
        SCRIPT_MESSAGE | {"author": SCRIPT_AUTHOR | {"discriminator": 42}, "member": None},
    ),
    "update": (
        "MESSAGE_UPDATE",
        RAW_MESSAGE | {"edited_timestamp": "2024-01-01T00:00:09+00:00"},
        "messageUpdate",
        {k: v for k, v in SCRIPT_MESSAGE.items() if k != "member"}
        | {"editedTimestamp": "2024-01-01T00:00:09+00:00", "old": None, "new": SCRIPT_MESSAGE},
    ),
    "partial update": (
        "MESSAGE_UPDATE",
        {"id": "1", "channel_id": "2", "guild_id": "3"},
        "messageUpdate",
        {
            "id": "1",
            "channelId": "2",
            "guildId": "3",
            "content": "",
            "author": None,
            "editedTimestamp": None,
            "old": None,
            "new": {"id": "1", "channelId": "2", "guildId": "3", "content": "", "author": None, "member": None},
        },
    ),
    "delete": (
        "MESSAGE_DELETE",
        {"id": "1", "channel_id": "2", "guild_id": "3"},
        "messageDelete",
        {"id": "1", "channelId": "2", "guildId": "3"},
    ),
    "bulk delete": (
        "MESSAGE_DELETE_BULK",
        {"ids": ["1", "4"], "channel_id": "2", "guild_id": "3"},
        "messageDeleteBulk",
        {"ids": ["1", "4"], "channelId": "2", "guildId": "3"},
    ),
    "reaction": ("MESSAGE_REACTION_ADD", RAW_REACTION, "reactionAdd", SCRIPT_REACTION),
    "custom reaction removed": (
        "MESSAGE_REACTION_REMOVE",
        RAW_REACTION | {"emoji": {"id": "8", "name": "yes", "animated": True}, "burst": True},
        "reactionRemove",
        SCRIPT_REACTION | {"emoji": {"animated": True, "id": "8", "name": "yes"}, "burst": True},
    ),
    "reaction emoji removed": (
        "MESSAGE_REACTION_REMOVE_EMOJI",
        {k: RAW_REACTION[k] for k in ("channel_id", "message_id", "guild_id", "emoji")},
        "reactionRemoveEmoji",
        SCRIPT_REACTION | {"userId": None},
    ),
    "reactions removed": (
        "MESSAGE_REACTION_REMOVE_ALL",
        {"channel_id": "2", "message_id": "1", "guild_id": "3"},
        "reactionRemoveAll",
        {"messageId": "1", "channelId": "2", "guildId": "3"},
    ),
    "slash command": (
        "INTERACTION_CREATE",
        RAW_INTERACTION | {"data": SLASH_DATA | {"options": OPTIONS, "guild_id": "3"}},
        "interactionCreate",
        SCRIPT_INTERACTION
        | {
            "commandName": "hello",
            "data": SLASH_DATA | {"options": OPTIONS, "guild_id": "3", "resolved": {}, "target_id": None},
        },
    ),
    "user command": (
        "INTERACTION_CREATE",
        RAW_INTERACTION | {"data": {"id": "20", "name": "Hi", "type": 2, "target_id": "7", "resolved": {"users": {}}}},
        "interactionCreate",
        SCRIPT_INTERACTION
        | {
            "commandName": "Hi",
            "data": {
                "id": "20",
                "name": "Hi",
                "type": 2,
                "target_id": "7",
                "resolved": {"users": {}},
                "options": [],
            },
        },
    ),
    "button": (
        "INTERACTION_CREATE",
        RAW_INTERACTION | {"type": 3, "message": {"id": "1"}, "data": {"custom_id": "go", "component_type": 2}},
        "componentInteraction",
        SCRIPT_INTERACTION | {"messageId": "1", "data": {"custom_id": "go", "component_type": 2, "values": None}},
    ),
    "select": (
        "INTERACTION_CREATE",
        RAW_INTERACTION
        | {"type": 3, "message": {"id": "1"}, "data": {"custom_id": "s", "component_type": 5, "values": ["7"]}},
        "componentInteraction",
        SCRIPT_INTERACTION | {"messageId": "1", "data": {"custom_id": "s", "component_type": 5, "values": ["7"]}},
    ),
    "modal": (
        "INTERACTION_CREATE",
        RAW_INTERACTION | {"type": 5, "data": MODAL_DATA},
        "modalSubmit",
        SCRIPT_INTERACTION | {"messageId": None, "data": MODAL_DATA},
    ),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_given_a_dispatch_when_mapped_then_the_script_payload_is_exact(case: str) -> None:
    dispatch, raw, name, payload = GOLDEN[case]
    before = orjson.dumps(raw)

    mapped = script_event(dispatch, raw)

    assert mapped == (name, "3", payload)
    assert orjson.dumps(raw) == before


def test_given_ready_when_mapped_then_guilds_are_withheld() -> None:
    raw = {"v": 10, "user": AUTHOR | {"bot": True}, "guilds": [{"id": "3"}], "application": {"id": "12"}}

    assert script_event("READY", raw) == ("ready", None, {"user": SCRIPT_AUTHOR | {"bot": True}, "guildIds": []})


@pytest.mark.parametrize("kind", [1, 4])
def test_given_a_ping_or_autocomplete_when_mapped_then_scripts_never_see_it(kind: int) -> None:
    assert script_event("INTERACTION_CREATE", RAW_INTERACTION | {"type": kind}) is None


@pytest.mark.parametrize("dispatch", ["TYPING_START", "GUILD_CREATE", "PRESENCE_UPDATE", "CHANNEL_CREATE", "RESUMED"])
def test_given_what_scripts_do_not_know_when_mapped_then_nothing(dispatch: str) -> None:
    assert event_name(dispatch, {}) is None


def test_given_the_event_table_then_it_is_complete() -> None:
    assert len(PAYLOADS) == 12
    assert {name for _, _, name, _ in GOLDEN.values()} | {"ready"} == set(PAYLOADS)
    assert set(PAYLOADS) >= DROPPABLE


def test_given_a_member_without_a_guild_member_then_the_user_of_a_direct_message_is_used() -> None:
    raw = {k: v for k, v in RAW_INTERACTION.items() if k not in {"member", "guild_id"}} | {
        "user": AUTHOR,
        "type": 5,
        "data": MODAL_DATA,
    }

    mapped = script_event("INTERACTION_CREATE", raw)

    assert mapped is not None
    assert mapped[1] is None
    assert mapped[2]["user"] == SCRIPT_AUTHOR
    assert mapped[2]["member"] is None
