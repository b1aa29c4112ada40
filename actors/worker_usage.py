"""What the guilds of a worker use. Their isolates say so at once: they are actors of this very process."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable
from typing import Any

from flora.actors.isolate.host import IsolateHost
from flora.actors.worker_isolates import Isolates, Resident
from flora.messages.ids import GuildId
from flora.messages.isolate import IsolateUsage, ReadUsage
from flora.messages.placement import GuildState


class GuildUsage:
    """`listen` takes in what the isolates said; an answer among it comes to `said`."""

    def __init__(self, isolates: Isolates, host: IsolateHost, listen: Callable[[], None]) -> None:
        self._isolates = isolates
        self._host = host
        self._listen = listen
        self._answers: dict[str, dict[str, Any]] = {}  # to the question that is being asked

    def said(self, message: IsolateUsage) -> None:
        """An isolate has answered."""
        self._answers[self._isolates.residents[message.key].guild_id] = message.usage

    def of(self, guild_id: GuildId | None, *, with_heap: bool) -> dict[str, dict[str, Any]]:
        """Of one guild, or of all that are served here, as `ReadGuildUsage` says."""
        self._answers = {}
        for resident in self._served():
            if guild_id in (None, resident.guild_id):
                self._isolates.tell(resident, ReadUsage(with_heap=with_heap))
        self._listen()
        return self._answers

    def notable(self, most: int) -> dict[str, Any]:
        """What `ReadMetrics` is told of guilds: of those that may be among the most notable ones, read without asking their isolates."""
        now_s = time.monotonic()
        briefs = [(*self._host.brief(each.key, now_s), each) for each in self._served()]
        states = {each.guild_id: state.value for state, _, each in briefs if state is not GuildState.SERVING}
        chosen = heapq.nlargest(most, briefs, key=lambda brief: (brief[0] is not GuildState.SERVING, brief[1]))
        usage = {each.guild_id: self._host.usage(each.key, now_s) for _, _, each in chosen}
        return {"usage": {guild_id: used for guild_id, used in usage.items() if used is not None}, "states": states}

    def _served(self) -> Iterable[Resident]:
        return (each for each in self._isolates.serving.values() if each.guild_id)
