"""Who gets which event: encodes each dispatch once and hands it to the sessions that want it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson

from flora.http.simulator import intents
from flora.http.simulator.errors import JsonObject
from flora.http.simulator.gateway.session import Session

Listener = Callable[[str, JsonObject, str | None], None]
_CONTENT_EVENTS = frozenset({"MESSAGE_CREATE", "MESSAGE_UPDATE"})


class Hub:
    """All sessions, and the page's listeners.

    Args:
        bot_id: Its own messages keep their content whatever the intents.
        guild_create: Makes the whole payload of GUILD_CREATE for a guild id; it differs by intents.
    """

    def __init__(
        self, bot_id: str, session_ttl_s: float, guild_create: Callable[[str, bool], JsonObject | None]
    ) -> None:
        self.sessions: dict[str, Session] = {}
        self.listeners: list[Listener] = []
        self.pushed = 0
        self.identified = 0
        self._bot_id = bot_id
        self._session_ttl_s = session_ttl_s
        self._guild_create = guild_create

    def emit(self, event: str, data: JsonObject, guild_id: str | None = None) -> None:
        """Sends an event to every session and listener it is for. Names that begin with SIM_ are for listeners only."""
        for listener in self.listeners:
            listener(event, data, guild_id)
        if not self.sessions or event.startswith("SIM_"):
            return
        if event == "GUILD_CREATE":
            self._emit_guild_create(data["id"])
            return
        body = blanked = None
        for session in self.sessions.values():
            if not session.wants(event, guild_id):
                continue
            self.pushed += 1
            if event in _CONTENT_EVENTS and self._must_blank(session, data):
                blanked = blanked or orjson.dumps(intents.without_content(data))
                session.dispatch(event, blanked)
            else:
                body = body or orjson.dumps(data)
                session.dispatch(event, body)

    def _must_blank(self, session: Session, message: JsonObject) -> bool:
        return not session.reads_content and not intents.may_read_content(message, self._bot_id)

    def _emit_guild_create(self, guild_id: str) -> None:
        for session in self.sessions.values():
            if session.wants("GUILD_CREATE", guild_id):
                self.pushed += 1
                self.greet(session, guild_id)

    def greet(self, session: Session, guild_id: str) -> None:
        """Sends one session a guild it may see."""
        payload = self._guild_create(guild_id, bool(session.intents & intents.Intent.GUILD_MEMBERS))
        if payload is not None:
            session.dispatch("GUILD_CREATE", orjson.dumps(payload))

    def open(self, session: Session) -> None:
        """Adds a session and forgets those that nobody came back for."""
        self.identified += 1
        deadline = time.monotonic() - self._session_ttl_s
        for old in [s for s in self.sessions.values() if s.lost_at is not None and s.lost_at < deadline]:
            del self.sessions[old.id]
        self.sessions[session.id] = session

    def end(self, session: Session) -> None:
        """Forgets a session: it cannot be resumed."""
        self.sessions.pop(session.id, None)

    def connected(self) -> list[Session]:
        return [s for s in self.sessions.values() if s.link is not None]

    def summary(self) -> list[dict[str, Any]]:
        """Sessions for the statistics."""
        return [
            {
                "id": s.id,
                "shard": list(s.shard),
                "intents": s.intents,
                "sequence": s.sequence,
                "connected": s.link is not None,
            }
            for s in self.sessions.values()
        ]
