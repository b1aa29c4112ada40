"""The router's part that takes key-value calls to the worker that owns the stores, and has them released when a guild moves."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace

from flora.actors.base import FloraActor
from flora.actors.router_state import RouterState
from flora.messages.base import Address, Failed, Ok
from flora.messages.errors import FloraError, MailboxFull, Unavailable
from flora.messages.ids import GuildId, ReqId, WorkerId
from flora.messages.kv import KvCall, ReleaseKv
from flora.messages.kv_exports import KvMakeExport, KvRestoreExport

LOOK_EVERY_S = 0.05
WAIT_LIMIT_S = 10.0  # a guild that does not come to rest; a worker needs about one second to be restarted
MAX_WAITING = 1_000
ANSWER_LIMIT_S = 30.0
EXPORT_LIMIT_S = 900.0  # a guild at its quota takes a minute, and others may be before it


class KvCalls:
    """Calls of clients, and who owns which guild's stores. `shell` is the router.

    The worker a guild is routed to owns them, whether or not a script of the guild runs there. A worker opens them by itself when it
    first needs them, and waits while the one before closes; here it is only seen to that the one before hears of it at once.
    """

    def __init__(self, shell: FloraActor, state: RouterState) -> None:
        self._shell = shell
        self._state = state
        self._owners: dict[GuildId, tuple[WorkerId, Address]] = {}
        self._waiting: deque[tuple[float, KvCall, Address]] = deque()
        self._is_looking = False

    def call(self, msg: KvCall, asker: Address) -> None:
        """Takes a client's call to the guild's worker, or keeps it while there is none."""
        if len(self._waiting) >= MAX_WAITING:
            self._refuse(msg, asker, MailboxFull("too many key-value calls wait for workers; try again"))
        elif any(other.guild_id == msg.guild_id for _, other, _ in self._waiting) or not self._send(msg, asker):
            self._waiting.append((time.monotonic() + WAIT_LIMIT_S, msg, asker))
            self._look_later()

    def moves_to(self, guild_id: GuildId, worker: WorkerId) -> None:
        """From now on this worker owns the guild's stores: it loads the guild, or is sent its calls."""
        end = self._state.workers[worker]
        before = self._owners.get(guild_id)
        if before == (worker, end.address) or end.address is None:
            return
        self._owners[guild_id] = (worker, end.address)
        if before is not None and self._lives_at(*before):
            self._shell.tell(before[1], ReleaseKv(req_id=ReqId(""), guild_id=guild_id))

    def _lives_at(self, worker: WorkerId, address: Address) -> bool:
        end = self._state.workers.get(worker)
        return end is not None and end.address == address

    def _send(self, msg: KvCall, asker: Address) -> bool:
        """False: the guild is on its way, or its worker is being restarted."""
        lane = self._state.lanes.get(msg.guild_id)
        if lane is not None and lane.held:
            return False
        worker = lane.worker if lane is not None else self._state.routes.lookup(msg.guild_id)
        end = self._state.workers.get(worker)
        if end is None or end.address is None:
            return False
        self.moves_to(msg.guild_id, worker)

        def answered(reply: Ok | Failed) -> None:
            self._shell.send(asker, replace(reply, req_id=msg.req_id, trace=msg.trace))

        is_long = isinstance(msg.operation, KvMakeExport | KvRestoreExport)
        self._shell.ask(end.address, msg, answered, EXPORT_LIMIT_S if is_long else ANSWER_LIMIT_S)
        return True

    def _look_later(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            self._shell.after(LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        """Sends what can be sent now; of one guild in the order in which it came."""
        self._is_looking = False
        waiting, self._waiting = self._waiting, deque()
        held: set[GuildId] = set()
        for until_s, msg, asker in waiting:
            if msg.guild_id not in held and self._send(msg, asker):
                continue
            held.add(msg.guild_id)
            if time.monotonic() < until_s:
                self._waiting.append((until_s, msg, asker))
            else:
                why = Unavailable("the guild's worker does not come to rest; try again", guild_id=msg.guild_id)
                self._refuse(msg, asker, why)
        if self._waiting:
            self._look_later()

    def _refuse(self, msg: KvCall, asker: Address, error: FloraError) -> None:
        self._shell.reply_failed(replace(msg, reply_to=None), asker, error)
