"""Signed packets: the serializer by itself, and a real actor system that somebody sends rubbish to."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.actors import wire
from flora.actors.wire import DIGEST_BYTES, MAX_PACKET_BYTES, RefusedPacket, SignedPickle

SECRET, OTHER = b"s" * 32, b"o" * 32
_shared = SignedPickle(SECRET)


class Canary:
    touched = 0

    def __reduce__(self):
        return _touch, ()


def _touch() -> str:
    Canary.touched += 1
    return "unpickled"


@pytest.fixture
def serializer() -> SignedPickle:
    return SignedPickle(SECRET)


@given(
    st.recursive(st.none() | st.integers() | st.text() | st.binary(), lambda inner: st.lists(inner) | st.tuples(inner))
)
def test_given_any_message_when_dumped_and_loaded_then_it_is_the_same(message):
    assert _shared.loads(_shared.dumps(message)) == message


@given(st.data())
def test_given_a_packet_with_one_bit_changed_then_it_is_refused(data):
    packet = bytearray(_shared.dumps({"any": "message"}))
    at = data.draw(st.integers(0, len(packet) * 8 - 1))
    packet[at // 8] ^= 1 << at % 8

    with pytest.raises(RefusedPacket):
        _shared.loads(bytes(packet))


def test_given_forged_packets_then_each_is_refused_unread_and_counted(serializer):
    body = pickle.dumps(Canary())
    signed = serializer.dumps("message")
    forged = {
        "unsigned": body,
        "signed under another secret": SignedPickle(OTHER).dumps(Canary()),
        "another packet's signature": signed[:DIGEST_BYTES] + body,
        "a signature and nothing": signed[:DIGEST_BYTES],
        "truncated": signed[:-1],
        "a byte too many": signed + b"\0",
        "shorter than a signature": b"short",
        "empty": b"",
    }
    Canary.touched = 0

    for packet in forged.values():
        with pytest.raises(RefusedPacket, match="wrong signature"):
            serializer.loads(packet)

    assert Canary.touched == 0
    assert serializer.refused == len(forged)
    assert serializer.loads(serializer.dumps(Canary())) == "unpickled"


def test_given_a_short_secret_then_there_is_no_serializer():
    with pytest.raises(ValueError, match="at least 32 bytes"):
        SignedPickle(b"short")


@pytest.mark.parametrize(
    "chunks",
    [
        [b"99999999999>"],
        [b"%d>" % (MAX_PACKET_BYTES + 1)],
        [b"-1>"],
        [b"0>"],
        [b"1" * 21],
        [b"1" * 15, b"1" * 15],
        [b"GET / HTTP/1.1\r\n\r\n>"],
        [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xff" * 40],
    ],
    ids=["eleven digits", "one byte over", "negative", "nothing", "no end", "no end in two", "http", "tls"],
)
def test_given_what_announces_no_packet_then_the_buffer_refuses_it_and_counts(monkeypatch, serializer, chunks):
    monkeypatch.setattr(wire.TCPTransport, "serializer", serializer)
    buffer = wire.ReceiveBuffer(serializer.loads)

    *first, last = chunks
    for chunk in first:
        buffer.addMore(chunk)
    with pytest.raises(RefusedPacket):
        buffer.addMore(last)

    assert serializer.refused == 1
    assert wire.refused_packets() == 1


def test_given_a_packet_in_any_pieces_then_the_buffer_gives_the_message(monkeypatch, serializer):
    monkeypatch.setattr(wire.TCPTransport, "serializer", serializer)
    body = serializer.dumps({"a": 1})
    sent = b"%d>%b" % (len(body), body)

    for size in (1, 7, len(sent)):
        buffer = wire.ReceiveBuffer(serializer.loads)
        for at in range(0, len(sent), size):
            buffer.addMore(sent[at : at + size])
        assert buffer.completed() == ({"a": 1}, b"")


def test_given_two_packets_at_once_then_the_buffer_gives_the_first_and_what_is_left(monkeypatch, serializer):
    monkeypatch.setattr(wire.TCPTransport, "serializer", serializer)
    body = serializer.dumps("first")
    buffer = wire.ReceiveBuffer(serializer.loads)
    assert buffer.is_empty()
    assert buffer.completed() is None

    buffer.addMore(b"%d>%b" % (len(body), body[:5]))
    assert (buffer.is_empty(), buffer.isDone(), buffer.remainingAmount()) == (False, False, len(body) - 5)
    buffer.addMore(body[5:] + b"12>the next")

    assert buffer.completed() == ("first", b"12>the next")
    buffer.removeExtra()
    assert buffer.completed() == ("first", b"")


# A whole system needs processes of its own: it replaces module attributes of the library.
SYSTEM = """
import pickle
import socket
import time
from contextlib import suppress
from pathlib import Path

from thespian.actors import Actor

from flora.actors import system, wire


class Echo(Actor):
    def receiveMessage(self, msg, sender):
        if isinstance(msg, str):
            self.send(sender, ("echo", msg, wire.refused_packets()))


class Canary:
    def __reduce__(self):
        return Path.touch, (Path("canary"),)


def push(port, packet):
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(packet)
        connection.settimeout(5)
        with suppress(ConnectionResetError):
            while connection.recv(4096):
                pass


def framed(body):
    return b"%d>" % len(body) + body


if __name__ == "__main__":
    running = system.start(b"s" * 32, "info", Path.cwd())
    echo = running.create(Echo)
    print(running.ask(echo, "before", 5))
    port = echo.addressDetails.sockname[1] if hasattr(echo.addressDetails, "sockname") else echo.addressDetails.connectArgs[0][1]
    for target in (port, running.port):
        push(target, framed(pickle.dumps(Canary())))
        push(target, framed(wire.SignedPickle(b"o" * 32).dumps(Canary())))
        push(target, b"99999999999999>")
    # The signatures of control packets count too: what the library sends to end a system is refused without ours.
    push(running.port, framed(pickle.dumps("stop")))
    print(running.ask(echo, "after", 5))
    print("canary" if Path("canary").exists() else "nothing unpickled")
    running.shutdown(2)
"""


@pytest.mark.service
@pytest.mark.timeout(60)
def test_given_a_real_system_when_its_ports_get_forged_packets_then_it_refuses_counts_and_goes_on(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(SYSTEM)

    done = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )

    assert done.stdout.splitlines() == [
        "('echo', 'before', 0)",
        "('echo', 'after', 7)",
        "nothing unpickled",
    ], done.stderr
    refusals = [line for line in done.stderr.splitlines() if "packet refused" in line]
    assert len(refusals) == 7
    assert all('"peer":"127.0.0.1:' in line for line in refusals)
    assert not Path(tmp_path / "canary").exists()
