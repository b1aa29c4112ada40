"""Messages that the actor library could not deliver, told to whoever sent them.

Thespian (4.0.1) gives a message whose receiver is gone to its admin process, which forwards it to one actor that has registered for such
("dead letters") or drops it; one that failed for another reason is dropped where it is. Neither says a word. Both pass through two places
in the sender's own process, and those are listened to here: no message more, and who sent it is known.
Can go when the library tells the sender.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from thespian.actors import ActorSystemMessage, DeadEnvelope
from thespian.system import actorManager, addressManager
from thespian.system.transport import SendStatus

Listener = Callable[[Any, str], None]
"""Called with the message and why it did not arrive, on the thread that sends."""

_WHY = {
    SendStatus.DeadTarget: "its receiver is gone",
    SendStatus.BadPacket: "its receiver refused the packet",
    SendStatus.Failed: "its receiver could not be reached",
    SendStatus.Expired: "it could not be sent in time",
}

_original_failed = actorManager.ActorManager.actor_send_fail
_original_prepare = addressManager.ActorAddressManager.prepMessageSend
_listeners: list[Listener] = []


def install() -> None:
    """Listens, in this process and all that it forks. May be called again."""
    if actorManager.ActorManager.actor_send_fail is not _send_failed:
        actorManager.ActorManager.actor_send_fail = _send_failed
        addressManager.ActorAddressManager.prepMessageSend = _prepare
        os.register_at_fork(
            after_in_child=_listeners.clear
        )  # who listens in this process is nobody's business in another


def listen(listener: Listener) -> None:
    """Tells `listener`, and nobody else, of what this process could not deliver."""
    _listeners[:] = [listener]


def _send_failed(manager: Any, result: Any, intent: Any) -> Any:
    _tell(intent.message, _WHY.get(result, f"it could not be sent: {result}"))
    return _original_failed(manager, result, intent)


def _prepare(addresses: Any, to: Any, message: Any) -> Any:
    prepared = _original_prepare(addresses, to, message)
    if type(prepared[1]) is DeadEnvelope and type(message) is not DeadEnvelope:
        _tell(message, _WHY[SendStatus.DeadTarget])
    return prepared


def _tell(message: Any, why: str) -> None:
    if not isinstance(
        message, ActorSystemMessage
    ):  # those are the library's own, sent to the dying as a matter of course
        for listener in _listeners:
            listener(message, why)
