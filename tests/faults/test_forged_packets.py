"""Packets that none of our actors signed, sent to every port that one of them listens on."""

from __future__ import annotations

import hashlib
import hmac
import pickle
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = [pytest.mark.service, pytest.mark.fault, pytest.mark.timeout(60)]

LISTENING = "0A"
LIMIT_S = 5.0


class Canary:
    """Whoever unpickles this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def listening_ports(pids: set[int]) -> dict[int, int]:
    """Port → process, of the TCP sockets that some processes listen on."""
    by_inode = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING:
                by_inode[fields[9]] = int(fields[1].rpartition(":")[2], 16)
    found = {}
    for pid in pids:
        with suppress(OSError):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    target = str(entry.readlink())
                    if target.startswith("socket:[") and target[8:-1] in by_inode:
                        found[by_inode[target[8:-1]]] = pid
    return found


def send(port: int, packet: bytes) -> bytes:
    """Sends a packet as the actor library frames it; gives what comes back before the connection closes."""
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as connection:
        connection.sendall(b"%d>" % len(packet) + packet)
        connection.settimeout(LIMIT_S)
        answer = b""
        with suppress(ConnectionResetError):
            while chunk := connection.recv(4096):
                answer += chunk
        return answer


def test_given_unsigned_and_wrongly_signed_packets_to_every_port_then_they_are_refused_unread_and_counted(
    broken_flora, tmp_path, wait_for
):
    guild = broken_flora.new_guild()
    actors = {pid: title for pid, title in broken_flora.processes().items() if title.startswith("flora: ")}
    actors = {pid: title for pid, title in actors.items() if title != "flora: simulated discord"}
    api_port = int(broken_flora.url.rpartition(":")[2])
    ports = listening_ports(set(actors)).keys() - {api_port}
    assert len(ports) >= len(actors), f"each actor and the library's own processes listen: {actors}"
    before = broken_flora.metrics()["packets_refused"]
    canary = tmp_path / "unpickled"
    body = pickle.dumps(Canary(canary))
    wrong = hmac.digest(b"w" * 32, body, hashlib.sha256)
    packets = {"unsigned": body, "wrongly signed": wrong + body, "truncated": wrong[:7], "zeros": bytes(64)}

    for port in ports:
        for name, packet in packets.items():
            assert pickle.dumps("ok")[2:] not in send(port, packet), f"{name} packet was acknowledged at {port}"

    expected = before + len(ports) * len(packets)
    wait_for(lambda: broken_flora.metrics()["packets_refused"] >= expected, 10, f"fewer than {expected} counted")
    assert not canary.exists()
    pickle.loads(body)
    assert canary.exists(), "the packet would have shown"
    assert guild.ask("!ping") == "Pong!"
    assert actors.items() <= broken_flora.processes().items(), "an actor died of it"


def test_given_a_connection_that_announces_too_much_then_it_is_refused_and_closed(broken_flora, wait_for):
    guild = broken_flora.new_guild()
    port = next(iter(listening_ports({broken_flora.pid("router")})))
    before = broken_flora.metrics()["packets_refused"]

    for opening in (b"99999999999>x", b"-5>x", b"7" * 64, b"GET / HTTP/1.1\r\n\r\n>"):
        with socket.create_connection(("127.0.0.1", port), LIMIT_S) as connection:
            connection.sendall(opening)
            connection.settimeout(LIMIT_S)
            with suppress(ConnectionResetError):
                assert connection.recv(4096) == b""

    wait_for(lambda: broken_flora.metrics()["packets_refused"] >= before + 4, 10, "not counted")
    assert guild.ask("!ping") == "Pong!"


def test_given_the_ports_of_actors_then_they_listen_on_loopback_only(broken_flora):
    actors = {pid for pid, title in broken_flora.processes().items() if title.startswith("flora: ")}
    found = subprocess.run(["cat", "/proc/net/tcp"], capture_output=True, text=True, check=True).stdout
    ports = listening_ports(actors)

    hosts = {
        line.split()[1].partition(":")[0]
        for line in found.splitlines()[1:]
        if line.split()[3] == LISTENING and int(line.split()[1].rpartition(":")[2], 16) in ports
    }

    assert hosts == {"0100007F"}
