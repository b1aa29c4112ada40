"""What became of every numbered event of a soak, and what must never become of one. Pure.

A guild's script answers event n with `n life place`: `life` is new each time the script is loaded, `place` counts the events that
this life has started. So replies, which may overtake each other, still tell in which order events were started.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

SCRIPT: Final = """
const life = Math.random().toString(36).slice(2)
let place = 0
on('messageCreate', async (msg) => {
  if (msg.author.bot) return
  const mine = `${msg.content} ${life} ${++place}`
  try {
    await msg.reply(mine)
  } catch (error) {
    console.log(`unsent ${mine}: ${error.message}`)
  }
})
"""
MOST_LISTED: Final = 3
MAX_BURST: Final = 100_000
TOLD_FAILED: Final = "dispatch failed: "


def number_of(name: str) -> int:
    """The number of an event that was sent as `<burst>-<number in it>`; it rises from event to event and from burst to burst."""
    burst, _, number = name.partition("-")
    return int(burst) * MAX_BURST + int(number)


@dataclass(slots=True)
class GuildLedger:
    """One guild's events."""

    sent: dict[int, float] = field(default_factory=dict)  # number → second of the soak in which it was sent
    replies: dict[int, list[tuple[str, int]]] = field(default_factory=lambda: defaultdict(list))  # → (life, place)
    unsent: set[int] = field(default_factory=set)  # the script was told that its reply may not have arrived
    newest_answered: int = -1
    failed: int = 0  # lines of the guild's log that say an event failed: with its worker, or at its time limit

    def note_reply(self, text: str) -> None:
        """A message of the bot's."""
        name, life, place = text.split()
        number = number_of(name)
        self.replies[number].append((life, int(place)))
        self.newest_answered = max(self.newest_answered, number)

    def note_log(self, text: str) -> None:
        """A line of the guild's log."""
        if text.startswith("unsent "):
            self.unsent.add(number_of(text.split()[1]))
        elif text.startswith(TOLD_FAILED):
            self.failed += 1

    def story(self, number: int) -> str:
        """Which lives started an event as their how manieth, for a person who looks for the reason."""
        found = [f"event {place} of life {life}" for life, place in self.replies.get(number, [])]
        return " and ".join(found) or "no reply"

    @property
    def unanswered(self) -> list[int]:
        """Sent, without a reply, and nobody said why."""
        return [number for number in self.sent if number not in self.replies and number not in self.unsent]

    @property
    def unaccounted(self) -> list[int]:
        """Unanswered events, unless the guild's log tells of as many failures."""
        missing = self.unanswered
        return missing if len(missing) > self.failed else []

    @property
    def doubled(self) -> list[int]:
        """Events that were answered more than once."""
        return [number for number, found in self.replies.items() if len(found) > 1]

    @property
    def disordered(self) -> list[int]:
        """Events that started before one with a smaller number."""
        lives: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for number, found in self.replies.items():
            life, place = found[0]
            lives[life].append((place, number))
        started = [sorted(places) for places in lives.values()]
        started.sort(key=lambda places: min(number for _, number in places))
        numbers = [number for places in started for _, number in places]
        return [later for earlier, later in pairwise(numbers) if later < earlier]


@dataclass(frozen=True, slots=True)
class Kill:
    """One process that was killed. Times are seconds of the soak."""

    part: str
    at_s: float
    back_s: float | None = None  # until the process was there again; None: it was not in time
    settled_s: float | None = None  # until the system was ready and had answered what had piled up


def nearest_kill(kills: Sequence[Kill], at_s: float) -> str:
    """The kill closest to a moment, for a person who looks for the reason."""
    if not kills:
        return "no kill"
    kill = min(kills, key=lambda kill: abs(kill.at_s - at_s))
    return f"{kill.part} was killed {abs(at_s - kill.at_s):.2f} s {'before' if kill.at_s <= at_s else 'after'}"


def growth_mb(samples: Sequence[tuple[float, float]]) -> float:
    """How much a straight line through (second, MB) samples rises from the first to the last; 0 for fewer than three."""
    if len(samples) < 3:
        return 0.0
    mean_s = sum(at_s for at_s, _ in samples) / len(samples)
    mean_mb = sum(mb for _, mb in samples) / len(samples)
    spread = sum((at_s - mean_s) ** 2 for at_s, _ in samples)
    slope = sum((at_s - mean_s) * (mb - mean_mb) for at_s, mb in samples) / spread if spread else 0.0
    return slope * (samples[-1][0] - samples[0][0])


def problems(ledgers: Mapping[str, GuildLedger], kills: Sequence[Kill], *, shed: int = 0) -> list[str]:
    """Everything that must not have happened to an event or a part, one sentence each.

    Args:
        ledgers: By guild id.
        kills: What was killed.
        shed: Events that were refused, because too many waited; so many may be missing.
    """
    found: list[str] = []
    missing = sum(len(ledger.unaccounted) - ledger.failed for ledger in ledgers.values() if ledger.unaccounted)
    for guild_id, ledger in ledgers.items():
        wrong = {"doubled": ledger.doubled, "disordered": ledger.disordered}
        if missing > shed:
            wrong["lost"] = ledger.unaccounted
        for kind, numbers in wrong.items():
            found += _listed(f"of guild {guild_id} was {kind}", numbers, ledger, kills)
    found += [f"{kill.part}, killed at {kill.at_s:.0f} s, did not come back" for kill in kills if kill.back_s is None]
    found += [
        f"after the kill of {kill.part} at {kill.at_s:.0f} s the system did not settle"
        for kill in kills
        if kill.back_s is not None and kill.settled_s is None
    ]
    return found


def _listed(what: str, numbers: Sequence[int], ledger: GuildLedger, kills: Sequence[Kill]) -> list[str]:
    shown = [
        f"event {n} {what}, {ledger.story(n)}; {nearest_kill(kills, ledger.sent.get(n, 0.0))}"
        for n in numbers[:MOST_LISTED]
    ]
    more = len(numbers) - len(shown)
    return [*shown, f"and {more} more events {what}"] if more else shown
