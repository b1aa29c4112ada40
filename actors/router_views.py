"""The router's part that answers people: where a guild runs and how it is, what each worker has; and moves guilds on an operator's word."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from flora.actors.base import FloraActor
from flora.actors.placement import Home, Stage, is_dedicated
from flora.actors.router_balance import Balance
from flora.actors.router_pins import Pins
from flora.actors.router_places import Places
from flora.actors.router_state import RouterState
from flora.messages.base import Address, Failed, Ok, Request
from flora.messages.errors import NotFound, Unavailable
from flora.messages.ids import GuildId, ReqId, WorkerId
from flora.messages.lifecycle import ReadMetrics
from flora.messages.placement import (
    DescribeGuild,
    DescribeGuilds,
    DescribeWorkers,
    GuildState,
    PlaceGuild,
    Placement,
    ReadGuildUsage,
)

USAGE_LIMIT_S = 1.0  # a worker that does not say so soon is described without


class PoolStates(Protocol):
    """What views ask of whoever keeps the pool, see router_pool.py."""

    def worker_state(self, worker: WorkerId) -> dict[str, Any]:
        """{"pool_state", "age_s"} of a worker."""


class Views:
    """Answers DescribeGuild, DescribeGuilds, DescribeWorkers and PlaceGuild. `shell` is the router."""

    def __init__(
        self, shell: FloraActor, state: RouterState, places: Places, balance: Balance, pool: PoolStates
    ) -> None:
        self._shell = shell
        self._state = state
        self._places = places
        self._balance = balance
        self._pool = pool
        self.pins = Pins(shell, state, places)

    # One guild

    def describe_guild(self, request: DescribeGuild, asker: Address) -> None:
        """Answers when the guild's worker has said what the guild uses, or does not in time."""
        self._describe(request.guild_id, request, asker)

    def _describe(self, guild_id: GuildId, request: Request, asker: Address) -> None:
        lane = self._state.lanes.get(guild_id)
        home = self._places.home(guild_id)
        if lane is None and home is None and guild_id not in self._places.failed:
            self._shell.reply_failed(request, asker, NotFound("this guild has no script that runs", guild_id=guild_id))
            return
        end = self._state.workers.get(lane.worker) if lane is not None else None
        if lane is None or lane.held or lane.gated or end is None or end.address is None:
            self._shell.reply_ok(request, asker, self.guild_facts(guild_id, None))
            return

        def answered(reply: Ok | Failed) -> None:
            usage = reply.value.get(guild_id) if isinstance(reply, Ok) else None
            self._shell.reply_ok(request, asker, self.guild_facts(guild_id, usage))

        self._shell.ask(end.address, ReadGuildUsage(req_id=ReqId(""), guild_id=guild_id), answered, USAGE_LIMIT_S)

    def guild_facts(self, guild_id: GuildId, usage: dict[str, Any] | None) -> dict[str, Any]:
        """As `DescribeGuild` says. usage: what its worker said, if it did."""
        lane = self._state.lanes.get(guild_id)
        home = self._places.home(guild_id)
        placement, reason, since_s = self.placement_of(guild_id, home)
        return {
            "guild_id": guild_id,
            "worker": lane.worker if lane is not None else None,
            "placement": placement.value,
            "state": self.state_of(guild_id, home, (usage or {}).get("state")).value,
            "reason": reason or None,
            "since": rfc3339(since_s) if reason else None,
            "waiting": len(lane.waiting) if lane is not None else 0,
            "unfinished": len(lane.unfinished) if lane is not None else 0,
            "usage": usage,
        }

    def placement_of(self, guild_id: GuildId, home: Home | None) -> tuple[Placement, str, float]:
        """Where a guild is, why, and since when."""
        if home is not None:
            return home.placement, home.reason, home.since_s
        if guild_id in self._places.failed:
            return (Placement.SHARED, *self._places.failed[guild_id])
        return self._places.default(guild_id)

    def state_of(self, guild_id: GuildId, home: Home | None, said: str | None) -> GuildState:
        """How a guild's isolate is. said: by its worker."""
        if guild_id not in self._state.lanes:
            return GuildState.FAILED
        if home is not None and home.stage is not Stage.SERVING:
            return home.state
        lane = self._state.lanes[guild_id]
        if lane.held or lane.gated:
            return GuildState.LOADING
        return GuildState.SERVING if said is None else GuildState(said)

    # All of them

    def describe_guilds(self, request: DescribeGuilds, asker: Address) -> None:
        """As `describe_guild`, of every guild that has a script."""

        def answer(found: dict[WorkerId, dict[str, Any]]) -> None:
            usage = {guild_id: used for of_worker in found.values() for guild_id, used in of_worker.items()}
            facts = [self.guild_facts(guild_id, usage.get(guild_id)) for guild_id in sorted(self.guilds())]
            self._shell.reply_ok(request, asker, facts)

        self.ask_workers(ReadGuildUsage(req_id=ReqId("")), answer)

    def guilds(self) -> set[GuildId]:
        """Every guild that has a script."""
        return {*self._state.lanes, *self._places.failed, *(home.guild_id for home in self._places.homes)}

    def describe_workers(self, request: DescribeWorkers, asker: Address) -> None:
        """Answers when every worker has said what it uses, or does not in time."""
        self.ask_workers(
            ReadMetrics(req_id=ReqId("")),
            lambda found: self._shell.reply_ok(request, asker, self.workers_facts(found)),
        )

    def ask_workers(self, question: Request, then: Callable[[dict[WorkerId, dict[str, Any]]], None]) -> None:
        """Asks every living worker; goes on with the answers of those that gave one in time."""
        found: dict[WorkerId, dict[str, Any]] = {}
        alive = {worker: end.address for worker, end in self._state.workers.items() if end.address is not None}
        missing = len(alive)

        def answered(worker: WorkerId, reply: Ok | Failed) -> None:
            nonlocal missing
            missing -= 1
            if isinstance(reply, Ok):
                found[worker] = reply.value
            if not missing:
                then(found)

        for worker, address in alive.items():
            self._shell.ask(address, question, partial(answered, worker), USAGE_LIMIT_S)
        if not alive:
            then(found)

    def workers_facts(self, found: dict[WorkerId, dict[str, Any]]) -> list[dict[str, Any]]:
        """As `DescribeWorkers` says. found: answers to `ReadMetrics`."""
        return [
            {
                "worker": worker,
                "dedicated": is_dedicated(worker),
                "up": end.address is not None,
                "guilds": len(self._state.lanes.of_worker(worker)),
                "unfinished": self._state.lanes.backlog_of(worker),
                "restarts": self._places.deaths.get(worker, 0),
                **self._pool.worker_state(worker),
                "rss_bytes": found.get(worker, {}).get("rss_bytes"),
                "cpu_us": found.get(worker, {}).get("cpu_us"),
                **self._balance.facts_of(worker),
            }
            for worker, end in sorted(self._state.workers.items())
        ]

    # An operator's word

    def place(self, request: PlaceGuild, asker: Address) -> None:
        """Answered when the guild runs where it was told to, or stays where it was."""
        guild_id = request.guild_id

        def placed(why: str | None) -> None:
            if why is None:
                self._describe(guild_id, request, asker)
            else:
                self._shell.reply_failed(
                    request, asker, Unavailable(f"guild {guild_id} was not moved: {why}; try again", guild_id=guild_id)
                )

        known = guild_id in self._state.lanes or self._places.home(guild_id) is not None
        if not known and guild_id not in self._places.failed:
            self._shell.reply_failed(request, asker, NotFound("this guild has no script that runs", guild_id=guild_id))
        elif guild_id in self._places.moves:
            placed("it is being moved already")
        elif request.placement is Placement.DEDICATED:
            self.pins.dedicate(guild_id, placed)
        elif request.placement is Placement.SHARED:
            self.pins.share(guild_id, placed)
        else:
            placed("only flora itself puts a guild into quarantine")


def rfc3339(epoch_s: float) -> str:
    """Like 2026-01-31T12:00:00.000000+00:00."""
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="microseconds")
