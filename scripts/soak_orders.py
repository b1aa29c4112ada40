"""What a soak of moves asks for next: which guild goes where, how many workers there are to be, who is killed. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from flora.scripts.soak_kills import Killer

PAUSE_S: Final = (0.02, 0.4)
"""Shortest and longest pause between two orders: they overlap, because none waits for the one before."""
SIZES: Final = (2, 3, 4)  # of the pool
KILLS_APART_S: Final = 3.0
MOST_DRAINED: Final = 1  # at a time: of two workers one is left


class Act(StrEnum):
    """What can be asked for."""

    MIGRATE = "migrate"
    DEPLOY = "deploy"
    SCALE = "scale"
    DRAIN = "drain"
    UNDRAIN = "undrain"
    RECYCLE = "recycle"
    KILL = "kill"


SHARES: Final = {
    Act.MIGRATE: 60,
    Act.DEPLOY: 15,
    Act.SCALE: 4,
    Act.DRAIN: 4,
    Act.UNDRAIN: 6,
    Act.RECYCLE: 2,
    Act.KILL: 9,
}
"""How often each is drawn. About every four seconds the pool changes: so a change is now carried out, now replaced by the next one."""


@dataclass(frozen=True, slots=True)
class Order:
    """One thing to do."""

    act: Act
    guild_id: str = ""  # MIGRATE, DEPLOY
    number: int | None = (
        None  # of the worker; SCALE: how many there are to be; KILL: of the process. MIGRATE: None: any worker
    )
    title: str = ""  # KILL: of the process


class Orders:
    """Draws orders and pauses from a seed: the same seed gives the same sequence as long as the processes are the same."""

    def __init__(self, guilds: Sequence[str], kills: Sequence[str], workers: int, seed: int) -> None:
        self._guilds = tuple(guilds)
        self._rng = random.Random(seed)
        self._killer = Killer(kills, seed)
        self._size = workers
        self._killed_at_s = -KILLS_APART_S
        self._versions = 0

    def pause_s(self) -> float:
        """How long to wait before the next one."""
        return self._rng.uniform(*PAUSE_S)

    def draw(
        self, members: Sequence[int], drained: Sequence[int], processes: Mapping[int, str], now_s: float
    ) -> Order | None:
        """The next order, or None when what was drawn cannot be done now.

        Args:
            members: Workers of the pool.
            drained: Those of them that are to be empty.
            processes: Titles by id, oldest process first.
            now_s: Second of the soak.
        """
        (act,) = self._rng.choices(list(SHARES), list(SHARES.values()))
        match act:
            case Act.MIGRATE:
                return Order(act, self._rng.choice(self._guilds), self._rng.choice([None, *members]))
            case Act.DEPLOY:
                self._versions += 1
                return Order(act, self._rng.choice(self._guilds), self._versions)
            case Act.SCALE:
                self._size = self._rng.choice([size for size in SIZES if size != self._size])
                return Order(act, number=self._size)
            case Act.KILL:
                return self._kill(processes, now_s)
        among = drained if act is Act.UNDRAIN else [one for one in members if one not in drained]
        if not among or (act is Act.DRAIN and len(drained) >= MOST_DRAINED):
            return None
        return Order(act, number=self._rng.choice(list(among)))

    def _kill(self, processes: Mapping[int, str], now_s: float) -> Order | None:
        if now_s - self._killed_at_s < KILLS_APART_S:
            return None
        chosen = self._killer.choose(processes, now_s)
        if chosen is None:
            return None
        self._killed_at_s = now_s
        return Order(Act.KILL, number=chosen[0], title=chosen[1])
