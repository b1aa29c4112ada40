"""Server-sent events, read line by line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Event(NamedTuple):
    """One event. `name` is `message` unless the server gave another."""

    name: str
    data: str
    id: str | None


def read_events(lines: Iterable[str]) -> Iterator[Event]:
    """Events from the lines of a stream. Comments and unknown fields are skipped; one cut off at the end is dropped."""
    name, data, event_id = "message", list[str](), None
    for line in lines:
        if not line:
            if data:
                yield Event(name, "\n".join(data), event_id)
            name, data, event_id = "message", [], None
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
        elif field == "id":
            event_id = value
