"""The router's part that has isolates built and ended: deploys, restores, reloads after a worker's death, unloads."""

from __future__ import annotations

import logging
from typing import Protocol

from flora.actors.base import FloraActor
from flora.actors.lanes import Salvage
from flora.actors.placement import Verdict
from flora.actors.router_kv import KvCalls
from flora.actors.router_moves import load_limit_s
from flora.actors.router_state import RouterState, WorkerEnd
from flora.messages.base import Address, Failed, Ok
from flora.messages.deployment import LoadGuild, ReloadGuilds, UnloadGuild
from flora.messages.dispatch import LoadIsolate, UnloadIsolate
from flora.messages.errors import WorkerGone
from flora.messages.ids import GuildId, ReqId, WorkerId
from flora.messages.trace import sent_anew

log = logging.getLogger(__name__)

RELOAD_LIMIT_S = 120.0
RELOAD_AGAIN_S = 1.0  # pause before a reload that failed as a whole (the deployer died, storage is down) is tried again


class LoadPlaces(Protocol):
    """What loads ask of whoever decides where guilds run, see router_places.py."""

    def worker_for(self, msg: LoadGuild) -> WorkerId:
        """The worker that is to load a guild; it has a lane there."""

    def arrives_otherwise(self, guild_id: GuildId) -> bool:
        """The guild is between two workers, and need not be loaded because one of them died."""

    def loaded(self, msg: LoadGuild) -> None:
        """A guild serves."""

    def load_failed(self, msg: LoadGuild, failed: Failed) -> bool:
        """A load came to nothing. True: what becomes of the guild is settled."""

    def not_reloaded(self, guild_id: GuildId, why: str) -> bool:
        """The deployer could not bring a guild back. True: what becomes of it is settled."""

    def unloaded(self, guild_id: GuildId) -> None:
        """A guild's script is to run no more."""


class Loads:
    """Loads and unloads guilds in the workers that own them. `shell` is the router: it sends, asks and has the timers."""

    def __init__(self, shell: FloraActor, state: RouterState) -> None:
        self._shell = shell
        self._state = state
        self._tried_again: set[ReqId] = set()  # restores that a worker's death cut short once
        self._reloading: set[GuildId] = set()  # a reload of theirs is under way
        self._under_way: dict[GuildId, LoadGuild] = {}
        self._to_confirm: list[tuple[Address, Ok]] = []
        self.kv: KvCalls  # set by the router
        self.places: LoadPlaces  # set by whoever decides where guilds run

    # Workers that die and come back

    def tell_of_death(self, salvage: Salvage, verdict: Verdict) -> None:
        """Says what a worker's death did to a guild's events."""
        is_guilty = salvage.guild_id in verdict.guilty
        for _, _, name, _ in salvage.failed:
            how = f"{verdict.cause} while" if is_guilty else "the worker died while"
            self._state.logs.line("error", salvage.guild_id, f"dispatch failed: {how} {name} was running")
        if salvage.failed or salvage.kept:
            log.warning(
                "events of a dead worker",
                extra={"guild_id": salvage.guild_id, "failed": len(salvage.failed), "kept": salvage.kept},
            )

    def worker_is_back(self, worker: WorkerId, end: WorkerEnd) -> None:
        """Has everything loaded again that a dead worker held, and what was to be loaded meanwhile."""
        lanes = self._state.lanes
        parked, end.parked = end.parked, []
        for request, asker in parked:
            self._load(request, asker, worker, end)
        waiting = {request.guild_id for request, _ in parked if request.restore}
        held = tuple(g for g in lanes.of_worker(worker) if lanes[g].held and g not in waiting)
        self.reload(tuple(g for g in held if not self.places.arrives_otherwise(g)))

    def reload(self, guilds: tuple[GuildId, ...]) -> None:
        """Has the stored scripts of guilds loaded whose lanes are held."""
        lanes = self._state.lanes
        guilds = tuple(g for g in guilds if g in lanes and lanes[g].held)
        if guilds and self._shell.peers.deployer is None:
            self._shell.after(RELOAD_AGAIN_S, lambda: self.reload(guilds))
        elif guilds:
            self._reloading.update(guilds)
            self._shell.ask(
                self._shell.peers.deployer,
                ReloadGuilds(req_id=ReqId(""), guild_ids=guilds),
                lambda reply: self._reloaded(guilds, reply),
                RELOAD_LIMIT_S,
            )

    def _reloaded(self, guilds: tuple[GuildId, ...], reply: Ok | Failed) -> None:
        """Guilds that have no deployment any more, or whose deployment no longer loads, lose their lane."""
        if isinstance(reply, Failed):
            log.error("guilds not reloaded: %s", reply.message, extra={"guilds": len(guilds)})
            self._shell.after(RELOAD_AGAIN_S, lambda: self.reload(guilds))
            return
        self._reloading.difference_update(guilds)
        lanes = self._state.lanes
        failed = reply.value.get("failed", {})
        for guild_id in guilds:
            if guild_id in lanes and lanes[guild_id].held and guild_id not in self._loading():
                why = failed.get(guild_id, "its script could not be loaded again")
                if not self.places.not_reloaded(guild_id, why):
                    self._state.forget(guild_id)

    def _loading(self) -> set[GuildId]:
        return {request.guild_id for end in self._state.workers.values() for request, _ in end.parked}

    # Loads

    def load(self, msg: LoadGuild, asker: Address) -> None:
        """Has the guild's worker build the isolate; the guild's first events wait for it."""
        if not msg.restore:
            self._state.unstored.add(msg.guild_id)
        worker = self.places.worker_for(msg)
        end = self._state.workers[worker]
        if end.address is None:
            end.parked.append((msg, asker))
        else:
            self._load(msg, asker, worker, end)

    def _load(self, msg: LoadGuild, asker: Address, worker: WorkerId, end: WorkerEnd) -> None:
        self._under_way[msg.guild_id] = msg
        self.kv.moves_to(msg.guild_id, worker)
        request = LoadIsolate(
            req_id=ReqId(""),
            guild_id=msg.guild_id,
            script=msg.script,
            source_map=msg.source_map,
            secrets=msg.secrets,
            restore=msg.restore,
            trace=sent_anew(msg.trace),
        )
        limit_s = load_limit_s(self._shell)
        self._shell.ask(end.address, request, lambda r: self._loaded(msg, asker, worker, r), limit_s)

    def _loaded(self, msg: LoadGuild, asker: Address, worker: WorkerId, reply: Ok | Failed) -> None:
        guild_id = msg.guild_id
        if self._under_way.get(guild_id) is msg:
            del self._under_way[guild_id]
        lanes = self._state.lanes
        if isinstance(reply, Ok) and (guild_id not in lanes or lanes[guild_id].worker != worker):
            self._loaded_in_vain(msg, asker, worker)
            return
        if isinstance(reply, Ok):
            if msg.restore:
                self._state.unstored.discard(guild_id)
            self._state.subscribe(worker, guild_id, tuple(reply.value["handlers"]))
            self._state.workers[worker].link.offer_all(lanes.release(guild_id))
            self.places.loaded(msg)
            value = {"worker": worker, "replaced": reply.value["replaced"]}
            self._to_confirm.append((asker, Ok(req_id=msg.req_id, value=value, trace=msg.trace)))
            return
        is_gone = guild_id not in lanes or lanes[guild_id].worker != worker  # unloaded, given up, or sent elsewhere
        is_settled = is_gone or self.places.load_failed(msg, reply)
        if is_settled:
            self._tried_again.discard(msg.req_id)
        elif reply.code == WorkerGone.code and msg.restore and msg.req_id not in self._tried_again:
            # Once more in the next worker. Not a deploy: its script may be what ended this one, and the stored one is reloaded.
            self._tried_again.add(msg.req_id)
            self._state.workers[worker].parked.append((msg, asker))
            return
        self._tried_again.discard(msg.req_id)
        if not msg.restore:
            self._state.unstored.discard(guild_id)  # what ran before goes on
        if not is_settled and self._is_over(msg, reply):
            self._state.forget(guild_id)
        self._shell.send(
            asker, Failed(req_id=msg.req_id, code=reply.code, message=reply.message, details=reply.details)
        )

    def _loaded_in_vain(self, msg: LoadGuild, asker: Address, worker: WorkerId) -> None:
        """The guild was unloaded, or sent elsewhere, while this worker loaded it."""
        end = self._state.workers.get(worker)
        if end is not None and end.address is not None:
            self._shell.tell(end.address, UnloadIsolate(req_id=ReqId(""), guild_id=msg.guild_id))
        self._shell.send(
            asker, WorkerGone("the guild was moved meanwhile; try again", moved=True).as_failed(msg.req_id)
        )

    def is_loading(self, guild_id: GuildId) -> bool:
        """A script of the guild is being loaded, or will be when its worker is back."""
        return guild_id in self._under_way or guild_id in self._loading()

    def is_first_deploy(self, guild_id: GuildId) -> bool:
        """What is being loaded for a guild is a deploy, not a restore."""
        request = self._under_way.get(guild_id)
        return request is not None and not request.restore

    def _is_over(self, msg: LoadGuild, failed: Failed) -> bool:
        """Whether a failed load leaves the guild with nothing that runs or will be loaded again."""
        lanes = self._state.lanes
        if msg.guild_id not in lanes or not lanes[msg.guild_id].held:
            return False
        if failed.code == WorkerGone.code:
            return msg.restore  # it ended two workers, or had the bad luck to be there
        return msg.guild_id not in self._reloading

    def confirm(self) -> None:
        """A load is done when the gateway knows what the guild listens to: an event right after it must not be lost."""
        if self._to_confirm and (self._shell.peers.gateway is None or not len(self._state.gateway)):
            confirmed, self._to_confirm = self._to_confirm, []
            for asker, done in confirmed:
                self._shell.send(asker, done)

    def unload(self, msg: UnloadGuild, asker: Address) -> None:
        """Stops the guild's isolate; an unknown guild is fine."""
        if msg.guild_id not in self._state.routes:
            self.places.unloaded(msg.guild_id)
            self._shell.reply_ok(msg, asker)
            return
        end = self._state.workers[self._state.routes.lookup(msg.guild_id)]
        self._state.forget(msg.guild_id)
        self.places.unloaded(msg.guild_id)
        if end.address is None:
            self._shell.reply_ok(msg, asker)
            return
        request = UnloadIsolate(req_id=ReqId(""), guild_id=msg.guild_id)
        self._shell.ask(end.address, request, lambda _: self._shell.reply_ok(msg, asker))
