"""How a change of the pool of workers goes, for people: half of `flora workers`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from flora.scripts.cli.errors import ApiError, CliError, Unreachable
from flora.scripts.cli.output import local_time, note, plural, print_json, safe

if TYPE_CHECKING:
    from flora.scripts.cli.connection import ApiClient

LOOK_EVERY_S = 0.25
AWAY_LIMIT_S = 30.0  # for a router that is being restarted, or a front-end
MAX_LISTED = 10
SERVER_ERROR = 500


def follow(client: ApiClient, number: int, *, as_json: bool) -> int:
    """Returns when an operation has ended; tells meanwhile how far it is. Exit code 1: it is stuck, or was replaced.

    Raises:
        CliError: nobody says how it goes.
    """
    told = ""
    for operation in _looks(client, number):
        if operation["number"] > number or operation["state"] != "running":
            break
        text = progress(operation)
        if text != told:
            told = text
            note(text)
    if as_json:
        print_json(operation)
    elif operation["number"] > number:
        note(f"error: operation {number} was replaced by {title(operation)}")
    elif operation["state"] == "done":
        print(f"{title(operation)} is done: {safe(operation['text'])}")
    else:
        print("\n".join(describe(operation)))
    return 0 if operation["number"] == number and operation["state"] == "done" else 1


def _looks(client: ApiClient, number: int) -> Iterator[Mapping[str, Any]]:
    deadline_s = time.monotonic() + AWAY_LIMIT_S
    while True:
        try:
            operation = client.get_json("/workers/pool")["operation"]
        except (Unreachable, ApiError) as error:
            if time.monotonic() > deadline_s or (isinstance(error, ApiError) and error.status < SERVER_ERROR):
                raise
            operation = None
        if operation is not None and operation["number"] >= number:
            deadline_s = time.monotonic() + AWAY_LIMIT_S
            yield operation
        elif time.monotonic() > deadline_s:
            raise CliError(f"nobody knows of operation {number}; `flora workers` shows what there is")
        time.sleep(LOOK_EVERY_S)


def title(operation: Mapping[str, Any]) -> str:
    """Like "scale to 4", "recycle of worker 2"."""
    kind = safe(str(operation["kind"]))
    return f"scale to {operation['target']}" if kind == "scale" else f"{kind} of worker {operation['target']}"


def progress(operation: Mapping[str, Any]) -> str:
    """One line."""
    parts = [f"{plural(operation['moved'], 'guild')} moved"]
    if operation["moving"] or operation["left"]:
        parts.append(f"{operation['moving']} under way, {operation['left']} to go")
    if operation["loading"]:
        parts.append(f"{plural(operation['loading'], 'guild')} being loaded")
    if operation["starting"]:
        parts.append(f"starting worker {', '.join(map(str, operation['starting']))}")
    if operation["waiting"]:
        parts.append(f"{plural(len(operation['waiting']), 'guild')} did not come along at once")
    return f"{title(operation)}: {'; '.join(parts)}"


def describe(operation: Mapping[str, Any] | None) -> list[str]:
    """Lines about the last operation: none where there is nothing to tell."""
    if operation is None:
        return []
    if operation["state"] == "done":
        return [f"{title(operation)} is done since {local_time(operation['ended_at'])}: {safe(operation['text'])}"]
    if operation["state"] == "running":
        return [progress(operation), *_waiting(operation)]
    return [f"{title(operation)} does not get on: {safe(operation['text'])}", *_waiting(operation)]


def _waiting(operation: Mapping[str, Any]) -> list[str]:
    listed = [
        f"  guild {safe(each['guild_id'])} in worker {each['worker']}: {safe(each['why'])} ({plural(each['tries'], 'attempt')})"
        for each in operation["waiting"][:MAX_LISTED]
    ]
    more = len(operation["waiting"]) - MAX_LISTED
    return [*listed, f"  … and {more} more"] if more > 0 else listed
