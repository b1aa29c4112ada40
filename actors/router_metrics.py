"""The router's part that answers `ReadMetrics`: what it counts itself, and beside it what its workers do, which it asks."""

from __future__ import annotations

from typing import Any

from flora.actors.base import FloraActor
from flora.actors.placement import is_dedicated
from flora.actors.queue_wait import QueueWait
from flora.actors.router_balance import Balance
from flora.actors.router_notable import guild_figures
from flora.actors.router_places import Places
from flora.actors.router_state import RouterState
from flora.actors.router_views import Views
from flora.actors.wire import refused_packets
from flora.messages.base import Address
from flora.messages.ids import ReqId, WorkerId
from flora.messages.lifecycle import ReadMetrics
from flora.messages.placement import Placement
from flora.messages.series import alone, counted


class RouterMetrics:
    """`shell` is the router."""

    def __init__(
        self, shell: FloraActor, state: RouterState, places: Places, views: Views, waits: QueueWait, balance: Balance
    ) -> None:
        self._shell = shell
        self._state = state
        self._places = places
        self._views = views
        self._waits = waits
        self._balance = balance

    def read(self, request: ReadMetrics, asker: Address) -> None:
        """Answers when every living worker has answered, or has not in time."""

        def answer(found: dict[WorkerId, dict[str, Any]]) -> None:
            self._shell.reply_ok(request, asker, self._put_together(found, request.notable))

        self._views.ask_workers(ReadMetrics(req_id=ReqId(""), notable=request.notable), answer)

    def _put_together(self, found: dict[WorkerId, dict[str, Any]], notable: int) -> dict[str, Any]:
        of_guilds = [said.pop("guilds") for said in found.values() if "guilds" in said]
        workers = [facts | {"metrics": found.get(facts["worker"])} for facts in self._views.workers_facts(found)]
        about_guilds = {"guilds": guild_figures(self._views, self._places, of_guilds, notable)} if notable else {}
        return {**self._shell.figures(), **about_guilds, "workers": workers}

    def own(self) -> dict[str, Any]:
        """What the router itself counts."""
        tally = self._state.lanes.tally
        dropped = {"no_isolate": tally.dropped_no_isolate, "router_full": tally.shed, "died": tally.died}
        series = {
            "router_wait": alone(self._waits.waits.sample()),
            "dropped": counted(dropped),
            **self._places.moves.tally.samples(),
        }
        return {
            "guild_routes": len(self._state.routes),
            "events_accepted": tally.accepted,
            "events_done": tally.done,
            "events_shed": tally.shed,
            "events_without_isolate": tally.dropped_no_isolate,
            "events_died": tally.died,
            "guilds_quarantined": self._places.homes.count(Placement.QUARANTINED),
            "workers_dedicated": sum(map(is_dedicated, self._state.workers)),
            "worker_deaths": self._places.total_deaths,
            "packets_refused": refused_packets(),
            **self._places.moves.tally.figures(len(self._places.moves)),
            **self._balance.counts,
            "series": series,
        }
