"""One guild's isolate as an actor, in its worker's local actor system."""

from __future__ import annotations

import logging
from typing import Any

from thespian.actors import Actor, ActorExitRequest

from flora.actors.isolate.session import IsolateSession
from flora.messages.base import Message
from flora.messages.isolate import (
    BootIsolate,
    CheckDeadlines,
    CloseIsolate,
    EndForMemory,
    EngineSaid,
    FreezeIsolate,
    GivePlaceholders,
    LoadScript,
    OpsAnswered,
    OpsDelayed,
    ReadUsage,
    RunEvents,
    RunJob,
    ThawIsolate,
)

log = logging.getLogger(__name__)


class GuildIsolate(Actor):
    """Loads one guild's script and runs its events: a thin shell around `IsolateSession`.

    Receives   what messages/isolate.py lists under worker → isolate
    Sends      IsolateLoaded, IsolateReport, IsolateUsage, IsolateClosed (to the worker, which listens)
    State      the session; ends with the deployment
    Fails      a run that breaks its limits is ended and the isolate rebuilt; one that cannot be is reported lost.
    """

    def __init__(self) -> None:
        super().__init__()
        self._session: IsolateSession | None = None

    def receiveMessage(self, msg: Any, sender: Any) -> None:
        """Thespian's entry point. Nothing escapes: the library would deliver the message again."""
        try:
            self._handle(msg)
        except Exception:
            log.exception("isolate failed while handling %s", type(msg).__name__)
            if self._session is not None:
                self._session.broken()
        if self._session is not None:
            for message in self._session.take_messages():
                self.send(sender, message)

    def _handle(self, msg: Message | ActorExitRequest) -> None:
        if isinstance(msg, BootIsolate):
            self._session = msg.host.sessions[msg.key] = IsolateSession(msg.key, msg.guild_id, msg.host)
            return
        session = self._session
        if session is None or isinstance(msg, ActorExitRequest):
            self._session = None
            return
        match msg:
            case RunEvents(events=events):
                session.run(events)
            case EngineSaid(generation=generation, output=output):
                session.said(generation, output)
            case OpsAnswered(results=results, fetched=fetched, cost_us=cost_us):
                session.answered(results, fetched=fetched, cost_us=cost_us)
            case OpsDelayed():
                session.delayed()
            case CheckDeadlines(now_s=now_s):
                session.check(now_s)
            case RunJob(name=name, payload=payload):
                session.run_job(name, payload)
            case LoadScript(script=script, source_map=source_map, placeholders=placeholders, restore=restore):
                session.load(script, source_map, placeholders, restore=restore)
            case GivePlaceholders(placeholders=placeholders):
                session.give_placeholders(placeholders)
            case EndForMemory(why=why):
                session.end_for_memory(why)
            case ReadUsage(with_heap=with_heap):
                session.tell_usage(with_heap=with_heap)
            case FreezeIsolate():
                session.freeze()
            case ThawIsolate():
                session.thaw()
            case CloseIsolate(limit_s=limit_s):
                session.close(limit_s)
            case _:
                log.error("no handler for %s", type(msg).__name__)
