"""The router's part that lets what is addressed to a moving guild wait, and go on in order; gate.py decides the order.

Calls are carried out by whoever would have carried them out at once; when their answer passes through the router, a replay goes on.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from flora.actors.base import FloraActor
from flora.actors.gate import Call, Gates
from flora.actors.router_state import RouterState
from flora.messages.base import Address, Request
from flora.messages.errors import BugError, FloraError, Unavailable
from flora.messages.ids import GuildId, ReqId
from flora.messages.trace import working_on

log = logging.getLogger(__name__)

BARRIER_LIMIT_S = (
    10.0  # a script that loads for so long is waited for no longer: until it serves events go to the one before
)

R = TypeVar("R", bound=Request)


class Line:
    """What waits for guilds that move. `shell` is the router: it answers and has timers."""

    def __init__(self, shell: FloraActor, state: RouterState, gates: Gates, opened: Callable[[GuildId], None]) -> None:
        """`opened` is called when a guild's gate has opened: nothing waits any more."""
        self._shell = shell
        self._state = state
        self._gates = gates
        self._opened = opened
        self._due: deque[GuildId] = deque()  # replays that can go on
        self._scattered: deque[Call] = deque()

    def takes(
        self,
        guild_id: GuildId,
        msg: R,
        asker: Address,
        do: Callable[[R, Address], None],
        *,
        is_barrier: bool = True,
        limit_s: float = 0,
    ) -> bool:
        """Keeps a request while its guild moves. False: it does not, nothing was done.

        Args:
            guild_id: Whom it concerns.
            msg: The request.
            asker: Who is to be answered.
            do: Carries it out, when its turn has come.
            is_barrier: What comes after it waits until it is answered.
            limit_s: So long it may wait; 0: as long as it takes.
        """
        if guild_id not in self._gates:
            return False

        def refuse(error: FloraError) -> None:
            self._shell.reply_failed(msg, asker, error)

        def start() -> None:
            with working_on(msg.trace):  # not on what its predecessor's answer belongs to
                do(msg, asker)

        call = Call(msg.req_id, asker, start, refuse, is_barrier)
        try:
            self._gates.wait(guild_id, call, self._state.lanes.last_waiting(guild_id))
        except FloraError as full:
            refuse(full)
            return True
        if limit_s:
            self._shell.after(limit_s, lambda: self._out_of_time(guild_id, call))
        return True

    def _out_of_time(self, guild_id: GuildId, call: Call) -> None:
        if self._gates.withdraw(guild_id, call):
            call.refuse(Unavailable("the guild is being moved; try again", guild_id=guild_id))

    def answered(self, req_id: ReqId) -> None:
        """A request was answered."""
        guild_id = self._gates.answered(req_id)
        if guild_id is not None:
            self._due.append(guild_id)

    def replay(self, guild_id: GuildId) -> None:
        """Lets through what may go now."""
        lanes = self._state.lanes
        while (step := self._gates.next(guild_id)) is not None:
            call = step.call
            rows = lanes.ungate(guild_id) if call is None else lanes.let_through(guild_id, step.mark)
            if rows:
                self._state.workers[lanes[guild_id].worker].link.offer_all(rows)
            if call is None:
                self._opened(guild_id)
            else:
                self._start(call)

    def _start(self, call: Call) -> None:
        if call.is_barrier:
            self._shell.after(BARRIER_LIMIT_S, lambda: self.answered(call.req_id))
        try:
            call.start()
        except FloraError as refused:
            call.refuse(refused)
        except Exception as exc:
            log.error("a request that waited failed", exc_info=exc, extra={"action": "bug"})
            call.refuse(BugError("the router failed to handle a request that waited; see its log"))

    def scatter(self, guild_id: GuildId) -> None:
        """The gate is out of the way: requests take their usual one, events wait in the lane, which is held."""
        self._scattered.extend(self._gates.abandon(guild_id))
        if guild_id in self._state.lanes:
            self._state.lanes.hold(guild_id)
            self._state.lanes.ungate(guild_id)

    def flush(self) -> None:
        """Goes on with what can go on. Called after every message, and not in the middle of one: calls may change anything."""
        while self._due:
            self.replay(self._due.popleft())
        while self._scattered:
            self._start(self._scattered.popleft())
