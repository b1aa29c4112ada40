"""Checks of message bodies as Discord makes them, with its nested error shapes."""

from __future__ import annotations

from typing import Any

from flora.http.simulator import errors, shapes
from flora.http.simulator.errors import FormErrors, JsonObject

MAX_CONTENT, MAX_EMBEDS, MAX_EMBED_TOTAL, MAX_ROWS, MAX_V2_COMPONENTS = 2000, 10, 6000, 5, 40
_EMBED_TEXT_LIMITS = {"title": 256, "description": 4096}
_LAYOUT_ONLY_V2 = frozenset({9, 10, 12, 13, 14, 17})
_SELECTS = frozenset({3, 5, 6, 7, 8})


SETTABLE_FLAGS = 1 << 2 | 1 << 12 | shapes.IS_COMPONENTS_V2  # suppress embeds, suppress notifications


def settable(body: JsonObject, *, also: int = 0) -> JsonObject:
    """A message body whose flags are reduced to those a bot may set; Discord ignores the others."""
    if body.get("flags") is None:
        return body
    return {**body, "flags": int(body["flags"]) & (SETTABLE_FLAGS | also)}


def check_message(body: JsonObject, *, has_attachments: bool, may_be_empty: bool = False) -> None:
    """Checks the body of a new or edited message.

    Args:
        may_be_empty: For edits, where what is not named stays.

    Raises:
        ApiError: 50035 with the faults, or 50006 if nothing would be shown.
    """
    found = FormErrors()
    content = body.get("content")
    if content is not None and not isinstance(content, str):
        found.add(("content",), "STRING_TYPE_CONVERT", "Could not interpret value as string.")
    elif content and len(content) > MAX_CONTENT:
        found.too_long(MAX_CONTENT, "content")
    embeds = _listed(body, "embeds", found)
    components = _listed(body, "components", found)
    _check_embeds(embeds, found)
    v2 = bool(int(body.get("flags") or 0) & shapes.IS_COMPONENTS_V2)
    if v2 and (content or embeds):
        text = "The 'content' and 'embeds' fields cannot be used when using MessageFlags.IS_COMPONENTS_V2"
        found.add(("content",), "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2", text)
    _check_components(components, v2, found)
    found.raise_if_any()
    if may_be_empty or content or embeds or components or has_attachments or body.get("sticker_ids"):
        return
    if body.get("poll") or (body.get("message_reference") or {}).get("type") == 1:
        return
    raise errors.empty_message()


def _listed(body: JsonObject, key: str, found: FormErrors) -> list[Any]:
    value = body.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        found.add((key,), "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
        return []
    return value


def _check_embeds(embeds: list[Any], found: FormErrors) -> None:
    if len(embeds) > MAX_EMBEDS:
        found.too_long(MAX_EMBEDS, "embeds")
    total = 0
    for index, embed in enumerate(embeds):
        if not isinstance(embed, dict):
            found.add(("embeds", index), "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
            continue
        total += _check_embed(index, embed, found)
    if total > MAX_EMBED_TOTAL:
        found.add(("embeds",), "MAX_EMBED_SIZE_EXCEEDED", f"Embed size exceeds maximum size of {MAX_EMBED_TOTAL}")


def _check_embed(index: int, embed: JsonObject, found: FormErrors) -> int:
    """Notes faults of one embed.

    Returns:
        Its size in characters as Discord counts.
    """
    texts: list[tuple[tuple[str | int, ...], Any, int]] = [
        (("embeds", index, key), embed.get(key), limit) for key, limit in _EMBED_TEXT_LIMITS.items()
    ]
    texts.append((("embeds", index, "footer", "text"), (embed.get("footer") or {}).get("text"), 2048))
    texts.append((("embeds", index, "author", "name"), (embed.get("author") or {}).get("name"), 256))
    fields = embed.get("fields") or []
    if len(fields) > 25:
        found.too_long(25, "embeds", index, "fields")
    for number, field in enumerate(fields):
        for key, limit in (("name", 256), ("value", 1024)):
            if not field.get(key):
                found.required("embeds", index, "fields", number, key)
            texts.append((("embeds", index, "fields", number, key), field.get(key), limit))
    for path, text, limit in texts:
        if text is not None and len(str(text)) > limit:
            found.too_long(limit, *path)
    for key in ("image", "thumbnail"):
        url = (embed.get(key) or {}).get("url")
        if url and not str(url).startswith(("http://", "https://", "attachment://")):
            scheme = str(url).split(":", maxsplit=1)[0]
            message = f"Scheme \"{scheme}\" is not supported. Scheme must be one of ('http', 'https')."
            found.add(("embeds", index, key, "url"), "URL_TYPE_INVALID_SCHEME", message)
    embed.setdefault("type", "rich")
    return sum(len(str(text)) for _, text, _ in texts if text)


def _check_components(components: list[Any], v2: bool, found: FormErrors) -> None:
    if not v2 and len(components) > MAX_ROWS:
        found.too_long(MAX_ROWS, "components")
    state = _Seen(v2)
    for index, component in enumerate(components):
        state.check(component, ("components", index), found, top=True)
    if v2 and state.count > MAX_V2_COMPONENTS:
        found.too_long(MAX_V2_COMPONENTS, "components")


class _Seen:
    """What a walk over components has met: how many, and which custom ids."""

    def __init__(self, v2: bool) -> None:
        self.v2 = v2
        self.count = 0
        self.custom_ids: set[str] = set()

    def check(self, component: Any, path: tuple[str | int, ...], found: FormErrors, *, top: bool = False) -> None:
        if not isinstance(component, dict) or not isinstance(component.get("type"), int):
            found.required(*path, "type")
            return
        self.count += 1
        kind = component["type"]
        if top and (kind != 1 if not self.v2 else kind not in _LAYOUT_ONLY_V2 | {1}):
            allowed = "(1,)" if not self.v2 else "(1, 9, 10, 12, 13, 14, 17)"
            found.add((*path, "type"), "BASE_TYPE_CHOICES", f'Value of field "type" must be one of {allowed}.')
            return
        if kind == 1:
            self._row(component, path, found)
        elif kind == 2:
            self._button(component, path, found)
        elif kind in _SELECTS:
            self._select(component, path, found)
        for index, child in enumerate(component.get("components") or []):
            self.check(child, (*path, "components", index), found)
        if isinstance(component.get("accessory"), dict):
            self.check(component["accessory"], (*path, "accessory"), found)

    def _row(self, row: JsonObject, path: tuple[str | int, ...], found: FormErrors) -> None:
        children = row.get("components") or []
        has_select = any(isinstance(c, dict) and c.get("type") in _SELECTS for c in children)
        limit = 1 if has_select else 5
        if not 1 <= len(children) <= limit:
            found.add((*path, "components"), "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {limit} in length.")

    def _button(self, button: JsonObject, path: tuple[str | int, ...], found: FormErrors) -> None:
        style = button.get("style")
        if style not in (1, 2, 3, 4, 5, 6):
            text = 'Value of field "style" must be one of (1, 2, 3, 4, 5, 6).'
            found.add((*path, "style"), "BASE_TYPE_CHOICES", text)
        elif style == 5:
            if not button.get("url"):
                found.add((*path, "url"), "BUTTON_COMPONENT_URL_REQUIRED", "A url is required")
        elif style != 6:
            self._custom_id(button, path, found)
        label = button.get("label")
        if label is not None and len(str(label)) > 80:
            found.too_long(80, *path, "label")
        if not label and not button.get("emoji") and style != 6:
            found.add(path, "BUTTON_COMPONENT_LABEL_OR_EMOJI_REQUIRED", "A label or emoji is required")

    def _select(self, select: JsonObject, path: tuple[str | int, ...], found: FormErrors) -> None:
        self._custom_id(select, path, found)
        options = select.get("options")
        if select["type"] == 3 and not 1 <= len(options or []) <= 25:
            found.add((*path, "options"), "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 25 in length.")

    def _custom_id(self, component: JsonObject, path: tuple[str | int, ...], found: FormErrors) -> None:
        custom_id = component.get("custom_id")
        if not custom_id:
            found.add((*path, "custom_id"), "COMPONENT_CUSTOM_ID_REQUIRED", "A custom id is required")
        elif len(str(custom_id)) > 100:
            found.too_long(100, *path, "custom_id")
        elif custom_id in self.custom_ids:
            text = "Component custom id cannot be duplicated"
            found.add((*path, "custom_id"), "COMPONENT_CUSTOM_ID_DUPLICATED", text)
        self.custom_ids.add(str(custom_id))
