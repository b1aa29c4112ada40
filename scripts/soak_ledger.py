"""What became of every numbered event of a soak, and what must never become of one. Pure.

A guild's script answers event n with `n life place`: `life` is new each time the script is loaded, `place` counts the events that
this life has started. So replies, which may overtake each other, still tell in which order events were started.

Where guilds move, a fourth word says how many events the guild has started according to its store, which must never stand still or go
back, and a job prints the second for which it ran, which must not come twice.
"""

from __future__ import annotations

from collections import Counter, defaultdict
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
COUNTING_SCRIPT: Final = """
const life = 'VERSION:' + Math.random().toString(36).slice(2)
let place = 0
cron('tick', '* * * * * *', (ctx) => console.log('tick ' + ctx.scheduledAt))
on('messageCreate', async (msg) => {
  if (msg.author.bot) return
  const mine = `${msg.content} ${life} ${++place} ${await kv.increment('started')}`
  try {
    await msg.reply(mine)
  } catch (error) {
    console.log(`unsent ${mine}: ${error.message}`)
  }
})
"""
"""`VERSION` stands for a text without colons, another one for each deployment."""
MOST_LISTED: Final = 3
STORY_EVENTS: Final = 3
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
    counts: dict[int, int] = field(default_factory=dict)  # number → what the guild's store had counted up to
    ticks: Counter[str] = field(default_factory=Counter)  # second → how often a job ran for it
    unsent: set[int] = field(default_factory=set)  # the script was told that its reply may not have arrived
    newest_answered: int = -1
    failed: int = 0  # lines of the guild's log that say an event failed: with its worker, or at its time limit
    loaded_again: int = (
        0  # deploys of which it was not known what came of them: the version before may have been loaded twice
    )

    def note_reply(self, text: str) -> None:
        """A message of the bot's."""
        name, life, place, *count = text.split()
        number = number_of(name)
        if count:
            self.counts[number] = int(count[0])
        self.replies[number].append((life, int(place)))
        self.newest_answered = max(self.newest_answered, number)

    def note_log(self, text: str) -> None:
        """A line of the guild's log."""
        if text.startswith("unsent "):
            self.unsent.add(number_of(text.split()[1]))
        elif text.startswith(TOLD_FAILED):
            self.failed += 1
        elif text.startswith("tick "):
            self.ticks[text.removeprefix("tick ")] += 1

    def story(self, number: int) -> str:
        """Which lives started an event as their how manieth, for a person who looks for the reason."""
        found = [f"event {place} of life {life}" for life, place in self.replies.get(number, [])]
        counted = f", {self.counts[number]} by its store" if number in self.counts else ""
        return (" and ".join(found) or "no reply") + counted

    def story_before(self, number: int) -> str:
        """The same of the events that were started before it, as far as their order is known."""
        order = [one for one in self._in_order_of_start() if one in self.counts]
        at = order.index(number) if number in order else 0
        told = "; ".join(f"event {one}: {self.story(one)}" for one in order[max(0, at - STORY_EVENTS) : at])
        return told and f"before it {told}"

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
        return [later for earlier, later in pairwise(self._in_order_of_start()) if later < earlier]

    @property
    def miscounted(self) -> list[int]:
        """Events at which the store's count was not higher than at the event before: another one wrote, or a write was lost.

        Between two versions of a script only that no count comes twice: what a replaced isolate has begun may ask for its store while
        the next one has begun with newer events. So it is where a version replaces itself, see `loaded_again`.
        """
        may_overlap = self.loaded_again
        counted = [number for number in self._in_order_of_start() if number in self.counts]
        seen = Counter(self.counts[number] for number in counted)
        wrong = [number for number in counted if seen[self.counts[number]] > 1]
        for earlier, later in pairwise(counted):
            if self._version(earlier) != self._version(later) or self.counts[later] > self.counts[earlier]:
                continue
            if may_overlap and self._life(earlier) != self._life(later):
                may_overlap -= 1
            elif self.counts[later] < self.counts[earlier]:
                wrong.append(later)
        return wrong

    def _life(self, number: int) -> str:
        return self.replies[number][0][0]

    def _version(self, number: int) -> str:
        return self._life(number).partition(":")[0]

    def _in_order_of_start(self) -> list[int]:
        lives: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for number, found in self.replies.items():
            life, place = found[0]
            lives[life].append((place, number))
        started = [sorted(places) for places in lives.values()]
        started.sort(key=lambda places: min(number for _, number in places))
        return [number for places in started for _, number in places]


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
        wrong = {"doubled": ledger.doubled, "disordered": ledger.disordered, "miscounted": ledger.miscounted}
        if missing > shed:
            wrong["lost"] = ledger.unaccounted
        for kind, numbers in wrong.items():
            found += _listed(f"of guild {guild_id} was {kind}", numbers, ledger, kills)
        twice = [second for second, times in ledger.ticks.items() if times > 1]
        found += [f"a job of guild {guild_id} ran twice for {second}" for second in twice[:MOST_LISTED]]
    found += [f"{kill.part}, killed at {kill.at_s:.0f} s, did not come back" for kill in kills if kill.back_s is None]
    found += [
        f"after the kill of {kill.part} at {kill.at_s:.0f} s the system did not settle"
        for kill in kills
        if kill.back_s is not None and kill.settled_s is None
    ]
    return found


def _listed(what: str, numbers: Sequence[int], ledger: GuildLedger, kills: Sequence[Kill]) -> list[str]:
    shown = [
        "; ".join(
            filter(
                None,
                (
                    f"event {n} {what}, {ledger.story(n)}",
                    ledger.story_before(n),
                    nearest_kill(kills, ledger.sent.get(n, 0.0)),
                ),
            )
        )
        for n in numbers[:MOST_LISTED]
    ]
    more = len(numbers) - len(shown)
    return [*shown, f"and {more} more events {what}"] if more else shown
