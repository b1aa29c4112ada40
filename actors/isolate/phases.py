"""Where a session is in its life."""

from __future__ import annotations

from enum import Enum

from flora.messages.placement import GuildState


class Phase(Enum):
    """Where the session is."""

    OPENING = "opening"  # the engine makes an isolate: prelude and SDK
    LOADING = "loading"  # the guild's script runs its top level
    SERVING = "serving"
    FROZEN = "frozen"  # its guild moves: it does nothing, and goes on or is closed
    RESTING = "resting"  # the isolate ended; it is closed, then after a pause made anew
    REFUSED = "refused"  # the first load failed: only `close` is left
    FAILED = "failed"  # it could not be made anew: only `close` is left
    WEDGED = "wedged"  # its end does not come; nothing of it is told any more, but that it came after all
    CLOSING = "closing"
    CLOSED = "closed"


STATES = {
    Phase.OPENING: GuildState.LOADING,
    Phase.LOADING: GuildState.LOADING,
    Phase.RESTING: GuildState.RESTING,
    Phase.REFUSED: GuildState.FAILED,
    Phase.FAILED: GuildState.FAILED,
    Phase.WEDGED: GuildState.FAILED,
}
"""As others call it; SERVING and what is not here depends on more."""
