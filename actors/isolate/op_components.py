"""Message components: which may stand where, and what of them is sent on.

Unknown keys are dropped. Counts and lengths are Discord's to check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flora.actors.isolate.op_args import invalid, is_snowflake

Json = dict[str, Any]

ROW, BUTTON, STRING_SELECT, TEXT_INPUT = 1, 2, 3, 4
CHANNEL_SELECT = 8
SECTION, TEXT, THUMBNAIL, GALLERY, FILE, SEPARATOR, CONTAINER, LABEL, UPLOAD = 9, 10, 11, 12, 13, 14, 17, 18, 19
SELECTS = frozenset({3, 5, 6, 7, 8})
IN_ROW = SELECTS | {BUTTON}
TOP_LEVEL = frozenset({ROW, SECTION, TEXT, GALLERY, FILE, SEPARATOR, CONTAINER, LABEL})
IN_CONTAINER = frozenset({ROW, SECTION, TEXT, GALLERY, FILE, SEPARATOR})
IN_LABEL = SELECTS | {TEXT_INPUT, UPLOAD}
STYLE_LINK, STYLE_PREMIUM = 5, 6
SPACINGS = {"small": 1, "large": 2}

_DEFAULTS = {"default_users": "user", "default_roles": "role", "default_channels": "channel"}


def components(value: Any, path: str = "components") -> list[Json]:
    """Checks the components of a message.

    Args:
        value: What the script gave, in Discord's snake_case.
        path: For error texts.
    Returns:
        Components for Discord; bare buttons and selects wrapped in a row of their own.
    Raises:
        OpError: INVALID_INPUT, naming the component.
    """
    found = []
    for where, item in _each(value, path):
        kind = _kind(item, where)
        if kind == BUTTON or kind in SELECTS:
            found.append({"type": ROW, "components": [_build(item, where)]})
        else:
            found.append(_allowed(item, where, TOP_LEVEL))
    return found


def _each(value: Any, path: str) -> Iterable[tuple[str, Json]]:
    if not isinstance(value, list):
        raise invalid(path, "expected an array")
    for index, item in enumerate(value):
        where = f"{path}[{index}]"
        if not isinstance(item, dict):
            raise invalid(where, "expected an object")
        yield where, item


def _kind(item: Json, where: str) -> int:
    kind = item.get("type")
    if isinstance(kind, bool) or not isinstance(kind, int):
        raise invalid(f"{where}.type", "missing or not an integer")
    return kind


def _allowed(item: Json, where: str, kinds: Iterable[int]) -> Json:
    kind = _kind(item, where)
    if kind not in kinds:
        raise invalid(f"{where}.type", f"component type {kind} may not stand here")
    return _build(item, where)


def _build(item: Json, where: str) -> Json:
    kind = _kind(item, where)
    return {"type": kind} | _BUILDERS[kind](item, where)


def _pick(item: Json, *keys: str) -> Json:
    return {key: item[key] for key in keys if item.get(key) is not None}


def _text_of(item: Json, key: str, where: str) -> str:
    value = item.get(key)
    if not isinstance(value, str):
        raise invalid(f"{where}.{key}", "required, a string")
    return value


def _small(item: Json, where: str, *keys: str) -> Json:
    for key in keys:
        value = item.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 255):
            raise invalid(f"{where}.{key}", "must be an integer from 0 to 255")
    return _pick(item, *keys)


def emoji(value: Any, where: str) -> Json:
    """A partial emoji from Unicode text, `<a:name:id>`, or an object."""
    if isinstance(value, str):
        if value.startswith("<") and value.endswith(">"):
            parts = value[1:-1].split(":")
            if len(parts) != 3 or parts[0] not in {"", "a"} or not parts[1] or not is_snowflake(parts[2]):
                raise invalid(where, "not <:name:id> or <a:name:id>")
            return {"id": parts[2], "name": parts[1], "animated": parts[0] == "a"}
        if not value:
            raise invalid(where, "empty")
        return {"name": value}
    if not isinstance(value, dict):
        raise invalid(where, "expected a string or an object")
    if value.get("id") is not None and not is_snowflake(value["id"]):
        raise invalid(f"{where}.id", "not a valid id")
    return _pick(value, "id", "name", "animated")


def _row(item: Json, where: str) -> Json:
    inner = _each(item.get("components"), f"{where}.components")
    children = [_allowed(child, at, IN_ROW) for at, child in inner]
    selects = [child for child in children if child["type"] in SELECTS]
    if len(selects) > 1:
        raise invalid(f"{where}.components", "at most one select per row")
    return {"components": selects or children}  # beside a select, buttons never had room


def _button(item: Json, where: str) -> Json:
    style = item.get("style", 1)
    if isinstance(style, bool) or not isinstance(style, int):
        raise invalid(f"{where}.style", "must be an integer")
    found: Json = {"style": style} | _pick(item, "label", "disabled")
    if style == STYLE_LINK:
        found["url"] = _text_of(item, "url", where)
    elif style == STYLE_PREMIUM:
        found["sku_id"] = _text_of(item, "sku_id", where)
        if not is_snowflake(found["sku_id"]):
            raise invalid(f"{where}.sku_id", "not a valid id")
    else:
        found["custom_id"] = _text_of(item, "custom_id", where)
    if item.get("emoji") is not None:
        found["emoji"] = emoji(item["emoji"], f"{where}.emoji")
    return found


def _option(item: Json, where: str) -> Json:
    found: Json = {key: _text_of(item, key, where) for key in ("label", "value")}
    found |= _pick(item, "description", "default")
    if item.get("emoji") is not None:
        found["emoji"] = emoji(item["emoji"], f"{where}.emoji")
    return found


def _select(item: Json, where: str) -> Json:
    found: Json = {"custom_id": _text_of(item, "custom_id", where)}
    found |= _pick(item, "placeholder", "disabled", "required") | _small(item, where, "min_values", "max_values")
    if item["type"] == STRING_SELECT:
        if item.get("options") is None:
            raise invalid(f"{where}.options", "required")
        found["options"] = [_option(option, at) for at, option in _each(item["options"], f"{where}.options")]
        return found
    if item["type"] == CHANNEL_SELECT:
        found |= _pick(item, "channel_types")
    defaults = _defaults(item)
    return found | ({"default_values": defaults} if defaults else {})


def _defaults(item: Json) -> list[Json]:
    values = item.get("default_values")
    found = [
        {"id": value["id"], "type": value.get("type")}
        for value in (values if isinstance(values, list) else ())
        if isinstance(value, dict) and is_snowflake(value.get("id")) and value.get("type") in _DEFAULTS.values()
    ]
    for key, kind in _DEFAULTS.items():
        ids = item.get(key)
        found += [{"id": each, "type": kind} for each in (ids if isinstance(ids, list) else ()) if is_snowflake(each)]
    return found


def _text_display(item: Json, where: str) -> Json:
    return {"content": _text_of(item, "content", where)}


def _media(item: Json, key: str, where: str) -> Json:
    media = item.get(key)
    if not isinstance(media, dict):
        raise invalid(f"{where}.{key}.url", "required, a string")
    return {key: {"url": _text_of(media, "url", f"{where}.{key}")}}


def _section(item: Json, where: str) -> Json:
    texts = [
        {"type": TEXT} | _text_display(child, at) for at, child in _each(item.get("components"), f"{where}.components")
    ]
    accessory = item.get("accessory")
    if not isinstance(accessory, dict):
        raise invalid(f"{where}.accessory", "required, a button or a thumbnail")
    return {"components": texts, "accessory": _allowed(accessory, f"{where}.accessory", {BUTTON, THUMBNAIL})}


def _thumbnail(item: Json, where: str) -> Json:
    return _media(item, "media", where) | _pick(item, "description", "spoiler")


def _gallery(item: Json, where: str) -> Json:
    return {"items": [_thumbnail(each, at) for at, each in _each(item.get("items"), f"{where}.items")]}


def _file(item: Json, where: str) -> Json:
    return _media(item, "file", where) | _pick(item, "spoiler")


def _separator(item: Json, where: str) -> Json:
    if item.get("divider") is None:
        raise invalid(f"{where}.divider", "required")
    spacing = item.get("spacing")
    if isinstance(spacing, str):
        if spacing not in SPACINGS:
            raise invalid(f"{where}.spacing", "must be small, large or a number")
        spacing = SPACINGS[spacing]
    return {"divider": item["divider"]} | ({"spacing": spacing} if spacing is not None else {})


def _container(item: Json, where: str) -> Json:
    children = [_allowed(child, at, IN_CONTAINER) for at, child in _each(item.get("components"), f"{where}.components")]
    return {"components": children} | _pick(item, "accent_color", "spoiler")


def _label(item: Json, where: str) -> Json:
    child = item.get("component")
    if not isinstance(child, dict):
        raise invalid(f"{where}.component", "required")
    found: Json = {"label": _text_of(item, "label", where)} | _pick(item, "description")
    return found | {"component": _allowed(child, f"{where}.component", IN_LABEL)}


def _text_input(item: Json, where: str) -> Json:
    found: Json = {"custom_id": _text_of(item, "custom_id", where), "style": item.get("style", 1)}
    return found | _pick(item, "label", "min_length", "max_length", "required", "value", "placeholder")


def _upload(item: Json, where: str) -> Json:
    found: Json = {"custom_id": _text_of(item, "custom_id", where)} | _pick(item, "required")
    return found | _small(item, where, "min_values", "max_values")


_BUILDERS: dict[int, Callable[[Json, str], Json]] = {
    ROW: _row,
    BUTTON: _button,
    TEXT_INPUT: _text_input,
    SECTION: _section,
    TEXT: _text_display,
    THUMBNAIL: _thumbnail,
    GALLERY: _gallery,
    FILE: _file,
    SEPARATOR: _separator,
    CONTAINER: _container,
    LABEL: _label,
    UPLOAD: _upload,
    **dict.fromkeys(SELECTS, _select),
}
