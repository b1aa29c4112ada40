"""What key-value stores need of their worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flora.actors.base import FloraActor, OnReply
from flora.actors.kv.script_ops import Answer
from flora.actors.worker_isolates import Isolates
from flora.actors.worker_tracing import EventHops
from flora.messages.errors import FloraError, Unavailable
from flora.messages.ids import GuildId
from flora.messages.isolate import OpsAnswered, OpsDelayed
from flora.messages.kv import KvCall, NoteKvStores


class WorkerSide:
    """`Host` of the service: the worker's inbox, timers, isolates and peers. `shell` is the worker."""

    def __init__(self, shell: FloraActor, isolates: Isolates, hops: EventHops | None = None) -> None:
        self._hops = hops
        self._shell = shell
        self._isolates = isolates

    def post(self, item: object) -> None:
        self._shell.bridge.post(item)

    def after(self, delay_s: float, function: Callable[[], None]) -> object:
        return self._shell.after(delay_s, function)

    def answer_ops(self, key: int, answers: Sequence[Answer], cost_us: int) -> None:
        resident = self._isolates.residents.get(key)
        if resident is not None:
            if self._hops is not None:
                self._hops.ops.answered(key, answers)
            self._isolates.tell(resident, OpsAnswered(results=tuple(answers), cost_us=cost_us))

    def delay_ops(self, key: int) -> None:
        resident = self._isolates.residents.get(key)
        if resident is not None:
            self._isolates.tell(resident, OpsDelayed())

    def reply(self, call: KvCall, asker: Any, result: Any) -> None:
        if isinstance(result, FloraError):
            self._shell.reply_failed(call, asker, result)
        else:
            self._shell.reply_ok(call, asker, result)

    def is_home(self, guild_id: GuildId) -> bool:
        return self._isolates.has(guild_id)

    def tell_index(self, note: NoteKvStores, on_reply: OnReply) -> None:
        deployer = self._shell.peers.deployer
        if deployer is None:
            on_reply(Unavailable("there is no deployer now").as_failed(note.req_id))
        else:
            self._shell.ask(deployer, note, on_reply)
