"""What every message has: a trace context; what every request has: an id and somewhere to answer.

A request gets exactly one reply, `Ok` or `Failed` (or a named result that extends `Reply`), also on failure.
Streams of many small items travel as frames (see `flora.actors.link`): one frame under way per pair of actors
and direction, the next one filling meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from operator import attrgetter
from typing import Any

from flora.messages.ids import ReqId

Address = Any
"""A `thespian.actors.ActorAddress`; named here so that messages need not import the actor library."""


@cache
def _values_of(kind: type) -> Callable[[Any], tuple[Any, ...]]:
    names = [field.name for field in fields(kind)]
    if len(names) > 1:
        return attrgetter(*names)
    (only,) = names

    def value_of(message: Any) -> tuple[Any, ...]:
        return (getattr(message, only),)

    return value_of


@cache
def _setters_of(kind: type) -> tuple[Callable[[Any, Any], None], ...]:
    return tuple(getattr(kind, field.name).__set__ for field in fields(kind))


def _from_values(kind: type, values: tuple[Any, ...]) -> Any:
    message: Any = object.__new__(kind)
    for setter, value in zip(_setters_of(kind), values, strict=True):
        setter(message, value)
    return message


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceContext:
    """Which trace a message belongs to. Made at the border (gateway event, HTTP request, cron run, deploy)."""

    trace_id: str  # 32 hex digits, as in W3C Trace Context
    span_id: str = ""  # 16 hex digits of the sending hop; empty at the border
    sampled: bool = False  # errors and slow traces are kept whatever this says
    sent_us: int = 0  # when the message that carries this was sent, µs since the epoch; 0: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Base of everything actors send each other."""

    trace: TraceContext | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # What `dataclass` has for this looks up the fields each time: 12 µs for a frame there and back, 6 this way.
        kind: type = type(self)
        return _from_values, (kind, _values_of(kind)(self))

    def __str__(self) -> str:
        # The actor library makes a text of each message it sends, for a log that nobody reads; a frame's `repr` is a megabyte.
        return type(self).__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Message):
    """A message that is answered by exactly one reply with the same `req_id`."""

    req_id: ReqId
    reply_to: Address | None = None  # None: the sender


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply(Message):
    """Base of everything that answers a request."""

    req_id: ReqId


@dataclass(frozen=True, slots=True, kw_only=True)
class Ok(Reply):
    """The request was carried out. `value` is plain data, its shape documented at the request."""

    value: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Reply):
    """The request was refused or failed. `code` is one of `flora.messages.errors`; `message` is for a person."""

    code: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame(Message):
    """One batch on the link between two actors, in one direction.

    A frame with items is acknowledged by the peer's next frame (`ack == number`), which may be empty.
    """

    number: int  # 1, 2, 3 … per link and direction; 0 for a bare acknowledgement, which is itself never acknowledged
    ack: int  # number of the last frame received from the peer; 0 before the first
    after: int = 0  # number of the frame that went before it to this peer; 0: it is the first
    wants_ack: bool = True  # False: acknowledged with whatever goes the other way next
    epoch: str  # changes when either end restarts; frames of another epoch are ignored
