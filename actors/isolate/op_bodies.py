"""Argument objects of scripts (camelCase) → request bodies of Discord (snake_case)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from flora.actors.isolate.op_args import Args, OpError, invalid, is_snowflake
from flora.actors.isolate.op_components import components

Json = dict[str, Any]
File = dict[str, str]
"""`{"name", "data"}`, data in Base64."""

EPHEMERAL = 1 << 6
KNOWN_FLAGS = 0x1FF | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 15
MAX_CONTENT_CHARS, MAX_EMBEDS, MAX_EMBED_CHARS = 2000, 10, 6000
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_MENTION_KINDS = ("everyone", "users", "roles")
OPTION_TYPES = {"subcommand": 1, "subcommand_group": 2, "string": 3, "integer": 4, "boolean": 5, "number": 10}


def too_long(what: str) -> OpError:
    """Over one of Discord's limits that is checked before anything leaves."""
    return OpError(what, "DISCORD_HTTP_ERROR", status=500, discord_code=0)


def message_body(args: Args, fields: Iterable[str]) -> tuple[Json, list[File]]:
    """Body of a message.

    Args:
        args: The operation's arguments.
        fields: Which of content, embeds, attachments, components, tts, allowedMentions, flags this operation has.
    Returns:
        Discord's body, and the files to be uploaded with it.
    Raises:
        OpError: INVALID_INPUT, or DISCORD_HTTP_ERROR for what is too long.
    """
    body: Json = {}
    files: list[File] = []
    wanted = args.given(fields)
    if "content" in wanted:
        body["content"] = _content(args)
    if "embeds" in wanted:
        body["embeds"] = _embeds(args)
    if "attachments" in wanted:
        files, body["attachments"] = _attachments(args)
    if "components" in wanted:
        body["components"] = components(args.raw("components"), args.field("components"))
    if "tts" in wanted:
        body["tts"] = args.flag("tts")
    if "allowedMentions" in wanted:
        body["allowed_mentions"] = _allowed_mentions(args)
    if "flags" in wanted:
        body["flags"] = (args.integer("flags") or 0) & KNOWN_FLAGS
    return body, files


def _content(args: Args) -> str:
    content = args.need_text("content")
    if len(content) > MAX_CONTENT_CHARS:
        raise too_long(f"content has {len(content)} characters, at most {MAX_CONTENT_CHARS} are allowed")
    return content


def _embeds(args: Args) -> list[Json]:
    embeds = [_embed(embed) for embed in args.objects("embeds")]
    if len(embeds) > MAX_EMBEDS:
        raise too_long(f"{len(embeds)} embeds, at most {MAX_EMBEDS} are allowed")
    for index, embed in enumerate(embeds):
        size = _embed_chars(embed)
        if size > MAX_EMBED_CHARS:
            raise too_long(f"embeds[{index}] has {size} characters of text, at most {MAX_EMBED_CHARS} are allowed")
    return embeds


def _embed(args: Args) -> Json:
    found: Json = {key: args.text(key) for key in ("title", "description", "url") if args.has(key)}
    if args.has("color"):
        found["color"] = args.integer("color", (1 << 32) - 1)
    if args.has("timestamp"):
        found["timestamp"] = _timestamp(args)
    footer, author = args.object("footer"), args.object("author")
    if footer is not None and footer.has("text"):
        found["footer"] = {"text": footer.text("text")} | _renamed(footer, iconUrl="icon_url")
    for key in ("image", "thumbnail"):
        picture = args.object(key)
        if picture is not None and picture.has("url"):
            found[key] = {"url": picture.text("url")}
    if author is not None and author.has("name"):
        found["author"] = {"name": author.text("name")} | _renamed(author, url="url", iconUrl="icon_url")
    if args.has("fields"):
        found["fields"] = [
            {"name": field.need_text("name"), "value": field.need_text("value"), "inline": field.flag("inline")}
            for field in args.objects("fields")
        ]
    return found


def _renamed(args: Args, **names: str) -> Json:
    return {ours: args.text(theirs) for theirs, ours in names.items() if args.has(theirs)}


def _timestamp(args: Args) -> str:
    text = args.need_text("timestamp")
    try:
        if not _TIMESTAMP.fullmatch(text):
            raise ValueError
        datetime.fromisoformat(text)
    except ValueError:
        raise invalid(args.field("timestamp"), "not an RFC 3339 timestamp") from None
    return text


def _embed_chars(embed: Json) -> int:
    texts = [embed.get("title"), embed.get("description")]
    texts += [embed.get("footer", {}).get("text"), embed.get("author", {}).get("name")]
    for field in embed.get("fields", ()):
        texts += [field["name"], field["value"]]
    return sum(len(text) for text in texts if text)


def _attachments(args: Args) -> tuple[list[File], list[Json]]:
    files: list[File] = []
    described: list[Json] = []
    for index, item in enumerate(args.objects("attachments")):
        data = item.object("Base64") or item.object("base64")
        if data is None:
            if item.has("Url") or item.has("url"):
                raise invalid(item.field("url"), "attachments by URL are not offered; pass the data as Base64")
            raise OpError(f"{args.field('attachments')}[{index}]: expected Base64 or Url")
        name, text = data.need_text("filename"), data.need_text("data")
        try:
            base64.b64decode(text, validate=True)
        except binascii.Error:
            raise invalid(data.field("data"), "not valid Base64") from None
        files.append({"name": name, "data": text})
        described.append({"id": index, "filename": name} | _renamed(data, description="description"))
    return files, described


def _allowed_mentions(args: Args) -> Json:
    given = args.object("allowedMentions")
    assert given is not None
    found: Json = {"parse": [kind for kind in given.items("parse") or () if kind in _MENTION_KINDS]}
    for key in ("users", "roles"):
        ids = [item for item in given.items(key) or () if is_snowflake(item)]
        if ids:
            found[key] = ids
    if given.has("repliedUser"):
        found["replied_user"] = given.flag("repliedUser")
    return found


def command(args: Args) -> Json:
    """A slash command: name, description and options; everything else is dropped."""
    if not args.has("description"):
        raise invalid(args.field("description"), "required")
    found: Json = {"type": 1, "name": args.need_text("name"), "description": args.text("description")}
    found["options"] = [_option(option) for option in args.objects("options")]
    return found


def _option(args: Args) -> Json:
    kind = args.text("type")
    found: Json = {
        "type": OPTION_TYPES.get(kind or "string", OPTION_TYPES["string"]),
        "name": args.need_text("name"),
        "description": args.need_text("description"),
    }
    if args.has("required"):
        found["required"] = args.flag("required")
    if args.has("options"):
        found["options"] = [_option(option) for option in args.objects("options")]
    return found
