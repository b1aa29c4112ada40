"""What a worker has received and what of it is unfinished, for a router that was restarted and knows neither. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from flora.actors.event_stamps import Arrival


class EventBook:
    """Per guild the highest event number ever received, and the numbers of events that are not done."""

    def __init__(self) -> None:
        self._received: dict[str, int] = {}
        self._unfinished: dict[str, dict[int, Arrival | None]] = {}

    def took(self, guild_id: str, seqs: Sequence[int], arrival: Arrival | None = None) -> None:
        """Events of one guild have come, in order. "" stands for those of no guild, which nobody reports done.

        `arrival`: given back when each of them is done.
        """
        self._received[guild_id] = max(seqs[-1], self._received.get(guild_id, 0))
        if guild_id:
            self._unfinished.setdefault(guild_id, {}).update(dict.fromkeys(seqs, arrival))

    def done(self, guild_id: str, seq: int) -> Arrival | None:
        """An event is done, however it ended. Gives what it came with."""
        unfinished = self._unfinished.get(guild_id)
        return None if unfinished is None else unfinished.pop(seq, None)

    def gave_up(self, guild_id: str) -> None:
        """What is not done of this guild's will be done elsewhere."""
        self._unfinished.pop(guild_id, None)

    def received(self) -> tuple[tuple[str, int], ...]:
        """(guild id, highest number), also of guilds that are elsewhere by now."""
        return tuple(self._received.items())

    def highest(self, guild_id: str) -> int:
        """Number of the last event of a guild that has come; 0: none has."""
        return self._received.get(guild_id, 0)

    def unfinished(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """(guild id, numbers in order), of guilds that have any."""
        return tuple((guild_id, tuple(sorted(seqs))) for guild_id, seqs in self._unfinished.items() if seqs)
