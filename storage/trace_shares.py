"""Who gives up what when trace files are over their limit: max-min fairness between guilds, as pure functions.

Each guild may keep as much as every other. What a guild does not need of its share goes to those that need more, so a guild
loses something only if it holds more than the level at which all that is kept fits, and never for the sake of a larger one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence


def fair_level(sizes: Iterable[int], budget: int) -> int:
    """The most that one may keep so that all together fit: the highest L with `sum(min(size, L)) <= budget`.

    Where all fit as they are, it is the largest size.
    """
    left = budget
    ordered = sorted(sizes)
    for taken, size in enumerate(ordered):
        if size * (len(ordered) - taken) > left:
            return max(0, left // (len(ordered) - taken))
        left -= size
    return ordered[-1] if ordered else 0


def to_give_up(sizes: Mapping[str, int], budget: int) -> dict[str, int]:
    """How many bytes each guild that is over its share must give up, by guild."""
    level = fair_level(sizes.values(), budget)
    return {guild_id: size - level for guild_id, size in sizes.items() if size > level}


def survivors(entries: Sequence[tuple[str, int]], budget: int) -> list[bool]:
    """Which entries are kept.

    Args:
        entries: (guild, bytes), the oldest first.
        budget: Most bytes that all that is kept may have.
    Returns:
        One truth value per entry. Of each guild over its share, the oldest are given up.
    """
    sizes: dict[str, int] = defaultdict(int)
    for guild_id, size in entries:
        sizes[guild_id] += size
    owed = to_give_up(sizes, budget)
    return [not owes(owed, guild_id, size) for guild_id, size in entries]


def owes(owed: dict[str, int], guild_id: str, size: int) -> bool:
    """Whether a guild gives up its next oldest entry of so many bytes; what it owes becomes less by it."""
    if owed.get(guild_id, 0) <= 0:
        return False
    owed[guild_id] -= size
    return True
