"""The gate before a guild that moves: what waits for the guild, and in which order it goes on. Pure: no clock, no messages.

    OPEN ── close ──► DRAINING ── leaves ──► MOVING ── replays ──► REPLAYING ── nothing waits ──► OPEN
                          └──────── replays: it stays ────────────────►┘

    DRAINING    the guild comes to rest where it is, and its worker freezes it
    MOVING      it is nobody's: frozen at the source, being built at the target
    REPLAYING   it serves again, there or where it was, and what came meanwhile goes to it

Whatever is addressed to the guild while its gate is not OPEN joins one line: events, and calls, which are requests of all kinds (loads,
unloads, secrets, key-value operations, questions about cron jobs). The events of that line are in the guild's lane (lanes.py), which has
their bounds and knows which are under way; the calls are here. Events have rising numbers, so the number of the last event before it says
where in the line a call stands.

REPLAYING takes the line from its head, what arrives joins its tail. Events between two calls go as one batch. A call that is a barrier
(what comes after it must find its effect) holds back everything behind it until it is answered. Failures of what was let through do not
concern the gate: the rest follows. It opens when nothing waits.

Where the guild is lost on the way (its worker died and nobody has it), the gate is abandoned: the calls go the way they would have gone
without it, and the events wait in the lane until the guild has been loaded again.

Each closing has a number, its epoch; a reply that belongs to an earlier one changes nothing.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from flora.messages.base import Address
from flora.messages.errors import Conflict, FloraError, MailboxFull
from flora.messages.ids import GuildId, ReqId

MAX_CALLS = 100  # of one guild; who asks for more is told so


class State(Enum):
    """Of one gate."""

    OPEN = "open"
    DRAINING = "draining"
    MOVING = "moving"
    REPLAYING = "replaying"


@dataclass(slots=True, eq=False)
class Call:
    """One request that waits."""

    req_id: ReqId
    asker: Address
    start: Callable[[], None]  # has it carried out, and answered
    refuse: Callable[[FloraError], None]  # answers it
    is_barrier: bool
    mark: int = 0  # number of the last event before it


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next of a replay: let events up to `mark` through, then start `call`. No call: all events; the gate is open."""

    mark: int
    call: Call | None


@dataclass(slots=True)
class _Gate:
    epoch: int
    state: State = State.DRAINING
    calls: deque[Call] = field(default_factory=deque)
    barrier: ReqId | None = None  # of the call that holds back what comes after it


class Gates:
    """The gates of all guilds. One that is open takes no room."""

    def __init__(self, first_epoch: int = 1) -> None:
        """`first_epoch`: higher than all of an earlier life."""
        self._gates: dict[GuildId, _Gate] = {}
        self._epochs = itertools.count(first_epoch)

    def __contains__(self, guild_id: GuildId) -> bool:
        """Whether the guild's gate is not open."""
        return guild_id in self._gates

    def __len__(self) -> int:
        return len(self._gates)

    def __iter__(self) -> Iterator[GuildId]:
        return iter(tuple(self._gates))

    def state_of(self, guild_id: GuildId) -> State:
        """Where a guild's gate stands."""
        gate = self._gates.get(guild_id)
        return State.OPEN if gate is None else gate.state

    def is_current(self, guild_id: GuildId, epoch: int) -> bool:
        """Whether what belongs to this epoch still counts."""
        gate = self._gates.get(guild_id)
        return gate is not None and gate.epoch == epoch

    def waiting(self, guild_id: GuildId) -> int:
        """How many calls wait."""
        gate = self._gates.get(guild_id)
        return len(gate.calls) if gate is not None else 0

    # The way round

    def close(self, guild_id: GuildId) -> int:
        """From now on everything waits.

        Returns:
            The epoch.
        Raises:
            Conflict: the gate is closed already.
        """
        if guild_id in self._gates:
            raise Conflict("guild migration already in progress", guild_id=guild_id)
        epoch = next(self._epochs)
        self._gates[guild_id] = _Gate(epoch)
        return epoch

    def leaves(self, guild_id: GuildId, epoch: int) -> bool:
        """The source has handed the guild over. False: that is of no interest any more."""
        return self._goes(guild_id, epoch, State.MOVING, State.DRAINING)

    def replays(self, guild_id: GuildId, epoch: int) -> bool:
        """The guild serves, wherever: `next` says how to go on. False: that is of no interest any more."""
        return self._goes(guild_id, epoch, State.REPLAYING, State.DRAINING, State.MOVING)

    def _goes(self, guild_id: GuildId, epoch: int, to: State, *origins: State) -> bool:
        gate = self._gates.get(guild_id)
        if gate is None or gate.epoch != epoch or gate.state not in origins:
            return False
        gate.state = to
        return True

    def abandon(self, guild_id: GuildId) -> list[Call]:
        """The guild is nowhere, or is to be nowhere. Gives what waited, in order: the gate is out of its way."""
        gate = self._gates.pop(guild_id, None)
        return list(gate.calls) if gate is not None else []

    # What waits

    def wait(self, guild_id: GuildId, call: Call, mark: int) -> bool:
        """Lets a call join the line. False: the gate is open, and nothing waits.

        Args:
            guild_id: Whom it concerns.
            call: The request.
            mark: Number of the last event that waits.
        Raises:
            MailboxFull: too many wait.
        """
        gate = self._gates.get(guild_id)
        if gate is None:
            return False
        if len(gate.calls) >= MAX_CALLS:
            raise MailboxFull("too many requests wait while the guild moves; try again", guild_id=guild_id)
        call.mark = mark
        gate.calls.append(call)
        return True

    def withdraw(self, guild_id: GuildId, call: Call) -> bool:
        """A call waits no longer. False: it has been started, or belongs to a gate that is gone."""
        gate = self._gates.get(guild_id)
        if gate is None or call not in gate.calls:
            return False
        gate.calls.remove(call)
        return True

    def forget_asker(self, asker: Address) -> int:
        """Whoever asked is dead, and its successor begins anew: what it wanted and was not started is not done.

        Returns:
            How many calls that were.
        """
        forgotten = 0
        for gate in self._gates.values():
            kept = deque(call for call in gate.calls if call.asker != asker)
            forgotten += len(gate.calls) - len(kept)
            gate.calls = kept
        return forgotten

    # Replay

    def next(self, guild_id: GuildId) -> Step | None:
        """The next step of a replay; None: there is none now, or the gate is not in replay. Call until it gives None."""
        gate = self._gates.get(guild_id)
        if gate is None or gate.state is not State.REPLAYING or gate.barrier is not None:
            return None
        if not gate.calls:
            del self._gates[guild_id]
            return Step(0, None)
        call = gate.calls.popleft()
        if call.is_barrier:
            gate.barrier = call.req_id
        return Step(call.mark, call)

    def answered(self, req_id: ReqId) -> GuildId | None:
        """A call has its answer. Gives the guild whose replay can go on, if it was a barrier."""
        for guild_id, gate in self._gates.items():
            if gate.barrier == req_id:
                gate.barrier = None
                return guild_id
        return None
