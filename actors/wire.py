"""Signed packets: what actors send each other is checked before it is unpickled.

Thespian sends pickles over TCP and unpickles whatever reaches a port. Its serializer is a module attribute
(`thespian.system.transport.TCPTransport.serializer`, Thespian 4.0.1), as are its two ready-made acknowledgement
packets and its receive buffer; `install` replaces all of them, before the actor system starts and in every process that
talks to it. A packet is the HMAC-SHA-256 of its body under the cluster secret, then the body. One that does not verify is
refused without being read, counted and told of; the connection is closed.

Not covered: replay of a recorded packet, and reading along. Between hosts the wire belongs in a private network.
"""

from __future__ import annotations

import hmac
import logging
import multiprocessing
import os
import pickle
from collections.abc import Callable
from typing import Any

from thespian.system.transport import IPBase, TCPTransport, streamBuffer

DIGEST_BYTES = 32
MAX_SIZE_DIGITS = 20  # a packet starts with its size in decimal and a '>'
MAX_PACKET_BYTES = 64 * 1024 * 1024  # eight times the largest request body; a longer announcement is refused unread


Listener = Callable[[str, str, int], None]
"""Called with the reason, the sender's address ("" if not known) and the bytes that had come, on the thread that reads."""

log = logging.getLogger(__name__)

_listeners: list[Listener] = []
_reading_from: list[Any] = [None]  # the socket of what is being read


class RefusedPacket(Exception):
    """A packet whose signature or announced size is wrong."""


class SignedPickle:
    """Stands where Thespian expects a module with `dumps` and `loads`.

    `refused` is shared by all processes forked after this object was made.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < DIGEST_BYTES:
            raise ValueError(f"the cluster secret must have at least {DIGEST_BYTES} bytes")
        self._secret = secret
        self._refused = multiprocessing.get_context("fork").Value("Q", 0)

    @property
    def refused(self) -> int:
        """Packets refused so far, in all processes of this system on this host."""
        return int(self._refused.value)

    def dumps(self, message: Any) -> bytes:
        """The signed packet for a message."""
        body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        return hmac.digest(self._secret, body, "sha256") + body

    def loads(self, packet: bytes) -> Any:
        """The message in a packet.

        Raises:
            RefusedPacket: the signature does not match; nothing was unpickled.
        """
        body = memoryview(packet)[DIGEST_BYTES:]
        if not hmac.compare_digest(hmac.digest(self._secret, body, "sha256"), packet[:DIGEST_BYTES]):
            self.refuse("wrong signature", len(packet))
            raise RefusedPacket("wrong signature")
        return pickle.loads(body)

    def refuse(self, reason: str, size: int) -> None:
        """Counts a refused packet, and tells of it."""
        with self._refused.get_lock():
            self._refused.value += 1
        peer = _peer()
        for listener in _listeners or (_log_refusal,):
            listener(reason, peer, size)


class ReceiveBuffer:
    """Stands for Thespian's receive buffer: bounded, and a packet in a hundred pieces is copied once, not fifty times.

    A packet on the wire is its size in decimal, `>`, and the signed body. Method names and attributes are the library's.
    """

    def __init__(self, serializer: Callable[[bytes], Any]) -> None:
        self._deserialize = serializer
        self._pieces: list[bytes] = []
        self._length = 0
        self._size: int | None = None
        self._extra = b""

    def addMore(self, buf: bytes) -> None:
        """Takes in what arrived.

        Raises:
            RefusedPacket: this is no packet, or one of more than `MAX_PACKET_BYTES`.
        """
        if self._size is None:
            buf = self._read_size(b"".join((*self._pieces, buf)))
            if self._size is None:
                return
        missing = self._size - self._length
        if len(buf) > missing:
            self._extra += buf[missing:]
            buf = buf[:missing]
        self._pieces.append(buf)
        self._length += len(buf)

    def _read_size(self, head: bytes) -> bytes:
        digits, found, rest = head[: MAX_SIZE_DIGITS + 1].partition(b">")
        if not found:
            if len(head) > MAX_SIZE_DIGITS or not (digits.isdigit() or not digits):
                self._refuse("no packet", len(head))
            self._pieces = [head]
            return b""
        if not digits.isdigit() or not 0 < int(digits) <= MAX_PACKET_BYTES:
            self._refuse("announced size out of bounds", len(head))
        self._size = int(digits)
        self._pieces = []
        return rest + head[MAX_SIZE_DIGITS + 1 :]

    @staticmethod
    def _refuse(reason: str, size: int) -> None:
        _current().refuse(reason, size)
        raise RefusedPacket(reason)

    def is_empty(self) -> bool:
        """Nothing has arrived yet."""
        return self._size is None and not self._pieces

    def remainingAmount(self) -> int:
        """How many bytes to read next, at most."""
        return MAX_SIZE_DIGITS if self._size is None else self._size - self._length

    def isDone(self) -> bool:
        """The packet is complete."""
        return self._size is not None and self._length == self._size

    def removeExtra(self) -> None:
        """Forgets what came after the packet."""
        self._extra = b""

    def completed(self) -> tuple[Any, bytes] | None:
        """The packet's message and what came after it, or None while incomplete."""
        return (self._deserialize(b"".join(self._pieces)), self._extra) if self.isDone() else None


def _framed(body: bytes) -> bytes:
    return b"%d>%b" % (len(body), body)


def _serialized(transport: Any, intent: Any) -> memoryview:
    # A view, because the library slices off what was sent: of bytes that would copy the rest each time.
    return memoryview(_framed(_current().dumps((transport.myAddress, intent.message))))


def install(secret: bytes, bind_host: str = "127.0.0.1") -> SignedPickle:
    """Makes this process, and all that it forks, speak and accept only packets signed under `secret`.

    Args:
        secret: At least 32 bytes, the same on every host of the system.
        bind_host: Where actors listen. Thespian's own choice is every interface; one host needs only loopback.
    """
    os.environ["THESPIAN_BASE_IPADDR"] = bind_host  # else Thespian asks the kernel for the way to 8.8.8.8
    IPBase.IPActorAddress.bindArgs = property(lambda address: ((bind_host, address.bindname[1]),))
    serializer = SignedPickle(secret)
    TCPTransport.serializer = serializer
    TCPTransport.TCPTransport.serializer = _serialized
    TCPTransport.ReceiveBuffer = ReceiveBuffer
    TCPTransport.ackMsg = _framed(serializer.dumps(streamBuffer.ackPacket))
    TCPTransport.ackDataErrMsg = _framed(serializer.dumps(streamBuffer.ackDataErrPacket))
    os.register_at_fork(after_in_child=_listeners.clear)  # who listens in this process is nobody's business in another
    return serializer


def listen(listener: Listener) -> None:
    """Tells `listener`, and nobody else, of what this process refuses."""
    _listeners[:] = [listener]


def _log_refusal(reason: str, peer: str, size: int) -> None:
    log.warning("packet refused: %s", reason, extra={"action": "packet_refused", "peer": peer, "bytes": size})


def reading_from(connection: Any) -> None:
    """What is read from now on comes from this socket."""
    _reading_from[0] = connection


def _peer() -> str:
    try:
        host, port = _reading_from[0].getpeername()[:2]
    except (AttributeError, OSError, ValueError):
        return ""
    return f"{host}:{port}"


def _current() -> SignedPickle:
    serializer = TCPTransport.serializer
    assert isinstance(serializer, SignedPickle), "flora.actors.wire.install was not called"
    return serializer


def refused_packets() -> int:
    """Packets refused so far in this system on this host; 0 where the wire is not installed."""
    serializer = TCPTransport.serializer
    return serializer.refused if isinstance(serializer, SignedPickle) else 0
