"""Reading the arguments of host operations, which come from a script and may be anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote

U64_MAX = (1 << 64) - 1
SAFE_DIGITS = 19  # a number of so many digits is never over U64_MAX
_CUSTOM_EMOJI = re.compile(r"<a?:([A-Za-z0-9_]{1,64}):(\d{1,20})>")
_TOKEN = re.compile(r"(?!\.+$)[A-Za-z0-9_.=+/:~-]{1,1024}")
_UPPER = re.compile(r"(?<=[a-z0-9])([A-Z])")


class OpError(Exception):
    """An operation refused before anything left; crosses into the isolate as `details()`."""

    def __init__(self, message: str, code: str | None = None, **extra: Any) -> None:
        super().__init__(message)
        self.code = code
        self.extra = extra

    def details(self) -> dict[str, Any]:
        """`{"message", "code"?, …}`: what becomes the script's Error; without a code it is a TypeError."""
        found: dict[str, Any] = {"message": str(self), **self.extra}
        if self.code is not None:
            found["code"] = self.code
        else:
            found["name"] = "TypeError"
        return found


def invalid(field: str, reason: str) -> OpError:
    """INVALID_INPUT: the field, as a snake_case path, and what is wrong with it."""
    return OpError(f"{field}: {reason}", "INVALID_INPUT")


@lru_cache(maxsize=512)
def snake(name: str) -> str:
    """`deleteMessageSeconds` → `delete_message_seconds`."""
    return _UPPER.sub(r"_\1", name).lower()


def snowflake(value: Any, field: str) -> str:
    """A Discord id as canonical decimal text."""
    if not isinstance(value, str):
        raise OpError(f"{field}: expected a string")
    if not (value.isascii() and value.isdigit() and len(value) <= 20):
        raise invalid(field, "not a valid id")
    if len(value) <= SAFE_DIGITS and value[0] != "0":
        return value
    number = int(value)
    if not 0 < number <= U64_MAX:
        raise invalid(field, "not a valid id")
    return str(number)


def is_snowflake(value: Any) -> bool:
    """Whether `snowflake` takes it."""
    return isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20 and int(value) > 0


def emoji_in_path(value: str, field: str) -> str:
    """`🔥` or `<a:name:id>`, as a URL path segment."""
    custom = _CUSTOM_EMOJI.fullmatch(value)
    if custom:
        return f"{custom[1]}:{custom[2]}"
    # ASCII alone is no emoji (keycaps have a combining mark); this also keeps "." and ".." out of the path.
    if not value or value.isascii() or len(value) > 64:
        raise invalid(field, "neither a Unicode emoji nor <:name:id>")
    return quote(value, safe="")


class Args:
    """One argument object of an operation. Only declared fields are read; null and absent are the same."""

    def __init__(self, value: Any, path: str = "") -> None:
        """Wraps an argument.

        Args:
            value: What the script passed.
            path: Where it is inside the operation's arguments, for error texts.
        Raises:
            OpError: it is not an object.
        """
        if not isinstance(value, dict):
            raise OpError(f"{path or 'arguments'}: expected an object")
        self._value = value
        self._path = path

    def field(self, key: str) -> str:
        """Path of a field for error texts."""
        return f"{self._path}.{snake(key)}" if self._path else snake(key)

    def has(self, key: str) -> bool:
        return self._value.get(key) is not None

    def given(self, keys: Iterable[str]) -> list[str]:
        """Those that are there."""
        value = self._value
        return [key for key in keys if value.get(key) is not None]

    def raw(self, key: str) -> Any:
        return self._value.get(key)

    def need(self, key: str) -> Any:
        """Any JSON that is there."""
        value = self._value.get(key)
        if value is None:
            raise OpError(f"{self.field(key)}: missing")
        return value

    def text(self, key: str) -> str | None:
        value = self._value.get(key)
        if value is not None and not isinstance(value, str):
            raise OpError(f"{self.field(key)}: expected a string")
        return value

    def need_text(self, key: str) -> str:
        self.need(key)
        return str(self.text(key))

    def flag(self, key: str) -> bool:
        """Anything but true is false."""
        return self._value.get(key) is True

    def integer(self, key: str, most: int = U64_MAX) -> int | None:
        """A number, truncated and held between 0 and `most`."""
        value = self._value.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise OpError(f"{self.field(key)}: expected a number")
        return int(max(0, min(value, most)))

    def id(self, key: str) -> str:
        """A required Discord id."""
        return snowflake(self.need(key), self.field(key))

    def maybe_id(self, key: str) -> str | None:
        return snowflake(self._value[key], self.field(key)) if self.has(key) else None

    def items(self, key: str) -> list[Any] | None:
        value = self._value.get(key)
        if value is not None and not isinstance(value, list):
            raise OpError(f"{self.field(key)}: expected an array")
        return value

    def objects(self, key: str) -> list[Args]:
        """Elements of an array of objects; none when it is absent."""
        return [Args(item, f"{self.field(key)}[{index}]") for index, item in enumerate(self.items(key) or ())]

    def object(self, key: str) -> Args | None:
        return Args(self._value[key], self.field(key)) if self.has(key) else None

    def token(self, key: str) -> str:
        """A required interaction or webhook token, as a URL path segment."""
        value = self.need_text(key)
        if not _TOKEN.fullmatch(value):
            raise invalid(self.field(key), "not a valid token")
        return quote(value, safe="")


def only_object(args: Sequence[Any]) -> Args:
    """The single argument object that Discord operations take."""
    return Args(args[0] if args else None)
