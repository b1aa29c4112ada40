"""The router's side of the gateway: what it subscribes to, what is settled, and where a new gateway is to go on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from flora.actors.base import FloraActor
from flora.actors.link import Batch
from flora.actors.router_state import RouterState, Subscription
from flora.messages.base import Address
from flora.messages.gateway import GatewayControl, GatewayFrame, NotePositions, NoteSession, Position, ShardSession

CONTROL_AGAIN_S = 1.0  # a control frame that the gateway has not acknowledged by then is sent again
SETTLE_EVERY_S = 0.05  # looking for the oldest unfinished event costs 0.1 µs per guild
TELL_SETTLED_S = 0.5  # an idle gateway hears by then that its last events are done
REPLACED_KEPT = 8  # earlier gateways whose late frames are told from those of a new one
BROADCAST_KEPT_S = 2.0  # an event of no guild is not reported done; by then every living worker has it


class GatewayEnd:
    """What is said to the gateway. `shell` is the router."""

    def __init__(self, shell: FloraActor, state: RouterState) -> None:
        self._shell = shell
        self._state = state
        self._link = state.gateway
        self._address: Address = shell.peers.gateway
        self._replaced: deque[Address] = deque(maxlen=REPLACED_KEPT)
        self._is_new = True
        self._replacing = 0  # number of the frame that told the gateway everything
        self._next_seq = 0  # above every event taken
        self._settled, self._settled_at_s, self._told = 0, 0.0, 0
        self._broadcasts: deque[tuple[int, float]] = deque()
        self._timer = 0
        self._sessions: dict[int, ShardSession] = {}
        self._positions: dict[int, Position] = {}

    def meet(self, address: Address) -> None:
        """The gateway was started or restarted; the same one again changes nothing."""
        if address is None or address == self._address or address in self._replaced:
            return
        if self._address is not None:
            self._replaced.append(self._address)
        self._address = address
        self._link.take_back()
        self._is_new = True
        self._link.offer_all(self._state.wanted_events())

    def receive(self, msg: GatewayFrame, sender: Address) -> list[GatewayFrame]:
        """Takes note of a frame; gives those to be taken now, none of a gateway that was replaced."""
        if sender in self._replaced:
            self._shell.ignore(msg, "it is of a gateway that is gone")
            return []
        self.meet(sender)  # Runtime may tell us of a new one only after its first frame
        return self._link.receive(msg, owe_ack=False)

    def taken(self, msg: GatewayFrame) -> None:
        """All events of a frame were taken in."""
        self._note(msg.positions)
        self._next_seq = max(self._next_seq, msg.first_seq + len(msg.guild_ids))
        if not self._timer:
            self._timer = self._shell.after(TELL_SETTLED_S, self._tell_settled)

    def note_positions(self, msg: NotePositions, sender: Address) -> None:
        """Discord's numbers went on without events for us."""
        if sender == self._address:
            self._note(msg.positions)

    def _note(self, positions: Iterable[Position]) -> None:
        for position in positions:
            self._positions[position[0]] = position

    def note_session(self, msg: NoteSession, sender: Address) -> None:
        """A shard has a new session, or other guilds."""
        if sender == self._address:
            same = {n: s for n, s in self._sessions.items() if s.shard_count == msg.session.shard_count}
            self._sessions = {**same, msg.session.shard_id: msg.session}

    def resume_point(self, sender: Address) -> dict[str, Any]:
        """What a new gateway must know; frames of the one before that are still on their way are ignored from here on."""
        self.meet(sender)
        sessions = []
        for shard_id, session in self._sessions.items():
            position = self._positions.get(shard_id)
            if position is not None and position[1] == session.session_id:
                sessions.append(replace(session, sequence=position[2]))
        return {
            "next_seq": self._next_seq,
            "subscriptions": self._state.wanted_events(),
            "sessions": tuple(sessions),
        }

    def broadcast(self, seq: int) -> None:
        """An event of no guild was handed to all workers."""
        self._broadcasts.append((seq, time.monotonic() + BROADCAST_KEPT_S))

    def settled_below(self) -> int:
        """Every event with a lower number is done, failed or dropped."""
        now_s = time.monotonic()
        if now_s - self._settled_at_s >= SETTLE_EVERY_S:
            self._settled_at_s = now_s
            while self._broadcasts and self._broadcasts[0][1] <= now_s:
                self._broadcasts.popleft()
            first = min(self._broadcasts[0][0], self._next_seq) if self._broadcasts else self._next_seq
            oldest = self._state.lanes.oldest()
            self._settled = first if oldest is None else min(first, oldest)
        return self._settled

    @property
    def next_seq(self) -> int:
        """Every event with a lower number has come to this router, or was settled before it."""
        return self._next_seq

    def has_told(self, seq: int) -> bool:
        """The gateway knows that every event with a number below this one is settled: it will not send any of them again."""
        return self._told >= seq

    def _tell_settled(self) -> None:
        """Little traffic: nothing else would carry it."""
        self._timer = 0
        if self.settled_below() > self._told and self._shell.peers.gateway is not None:
            self._send(self._link.bare())
        if self._settled < self._next_seq:
            self._timer = self._shell.after(TELL_SETTLED_S, self._tell_settled)

    def flush(self) -> None:
        """Sends what there is to say."""
        if self._shell.peers.gateway is not None and (control := self._link.poll()) is not None:
            self._send(control)

    def _send(self, batch: Batch[Subscription]) -> None:
        self._shell.send(self._shell.peers.gateway, self._frame(batch))
        if batch.number:
            self._shell.after(CONTROL_AGAIN_S, lambda: self._overdue(batch.number))

    def _overdue(self, number: int) -> None:
        """A gateway that heard of this router only after its first frame has forgotten that frame, and never acknowledges it."""
        again = self._link.resend()
        if again is not None and again.number == number and self._shell.peers.gateway is not None:
            self._send(again)

    def _frame(self, batch: Batch[Subscription]) -> GatewayControl:
        if self._is_new and batch.number:
            self._is_new, self._replacing = False, batch.number
        self._told = self.settled_below()
        return GatewayControl(
            number=batch.number,
            ack=batch.ack,
            after=batch.after,
            wants_ack=batch.wants_ack,
            epoch=self._link.epoch,
            subscriptions=tuple(batch.rows),
            replaces_all=batch.number != 0 and batch.number == self._replacing,
            settled_below=self._told,
        )
