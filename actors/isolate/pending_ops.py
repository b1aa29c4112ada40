"""The host operations that one isolate waits for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from flora.actors.fetch.request import FetchError, FetchRequest, read_request
from flora.actors.isolate.op_args import OpError
from flora.actors.isolate.ops import COMMAND_CHANGES, OPS, CommandMemory, RestPlan, plan

UPSERT_COMMANDS = "op_upsert_guild_commands"
FETCH = "op_fetch"
KV_PREFIX = "op_kv_"
Answer = tuple[int, bool, str]
"""(op id, ok, JSON text of the value or of the error)"""


class PendingOps:
    """Turns op requests into REST calls and fetches, and what comes of those into answers."""

    def __init__(self, guild_id: str, max_fetch_body_bytes: int = 0) -> None:
        self._guild_id = guild_id
        self._max_fetch_body_bytes = max_fetch_body_bytes
        self._commands = CommandMemory()
        self._pending: dict[int, tuple[str, RestPlan | None]] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def __contains__(self, op_id: int) -> bool:
        return op_id in self._pending

    def request(self, op_id: int, name: str, args: Sequence[Any]) -> tuple[Any, ...] | Answer:
        """What an op request leads to.

        Returns:
            A REST call `(op id, method, route, scope, body, query, reason, retry)`, eight fields; or, when nothing is to be sent,
            the answer at once, three fields; or a fetch `(op id, FetchRequest)`, two fields.
        """
        if name == FETCH:
            return self._fetch(op_id, args)
        if name not in OPS:
            return op_id, False, _error({"message": f"there is no operation {name}", "code": "INVALID_INPUT"})
        try:
            asked = plan(name, args, self._guild_id)
        except OpError as refused:
            return op_id, False, _error(refused.details())
        if name == UPSERT_COMMANDS and self._commands.unchanged(asked):
            return op_id, True, "null"
        self._pending[op_id] = (name, asked)
        return (op_id, *asked.row(0, self._guild_id)[2:])

    def _fetch(self, op_id: int, args: Sequence[Any]) -> tuple[int, FetchRequest] | Answer:
        try:
            asked = read_request(args, self._max_fetch_body_bytes)
        except FetchError as refused:
            return op_id, False, _error(refused.details())
        self._pending[op_id] = (FETCH, None)
        return op_id, asked

    def expect(self, op_id: int, name: str) -> None:
        """The worker itself carries this one out."""
        self._pending[op_id] = (name, None)

    def answered(self, op_id: int, ok: bool, text: str) -> Answer | None:
        """The answer for the script, or None when nobody waits for it any more."""
        found = self._pending.pop(op_id, None)
        if found is None:
            return None
        name, asked = found
        if asked is None:
            return op_id, ok, text
        if ok and name == UPSERT_COMMANDS:
            self._commands.succeeded(asked)
        elif name in COMMAND_CHANGES:
            self._commands.forget()
        return op_id, ok, "null" if ok and asked.void else text

    def forget(self, op_id: int) -> bool:
        """The script does not wait for this one any more; False when it was not pending."""
        return self._pending.pop(op_id, None) is not None

    def abandon(self) -> tuple[int, ...]:
        """The isolate is gone: nobody waits for anything. Gives the ids of calls that need not leave any more."""
        gone = tuple(self._pending)
        self._pending.clear()
        return gone


def _error(details: dict[str, Any]) -> str:
    return orjson.dumps(details).decode()
