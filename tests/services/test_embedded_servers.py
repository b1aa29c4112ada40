from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from flora.messages.errors import BugError, ConfigError, Conflict, StorageError
from flora.storage.embedded.folder import DataFolder
from flora.storage.embedded.postgres import EmbeddedPostgres
from flora.storage.embedded.server import pids_at_home
from flora.storage.embedded.supervisor import ServiceSupervisor

pytestmark = pytest.mark.service

LAUNCHER = """
import json, sys, time
from pathlib import Path
from flora.storage.embedded.folder import DataFolder
from flora.storage.embedded.supervisor import ServiceSupervisor

supervisor = ServiceSupervisor(DataFolder.open(Path(sys.argv[1])))
supervisor.start()
facts = {"database": supervisor.database_url, "cache": supervisor.cache_url, "pids": supervisor.pids}
print(json.dumps(facts), flush=True)
while True:
    supervisor.poll()
    time.sleep(0.02)
"""


NOBODY = 65534


def runs_as(user: int) -> bool:
    try:
        command = [sys.executable, "-c", "import flora.storage.embedded.supervisor"]
        return subprocess.run(command, user=user, group=user, extra_groups=[], cwd="/", check=False).returncode == 0
    except PermissionError:
        return False


class Program:
    """Stands for the program: owns a data folder and its servers from `start` to `stop`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._running: list[tuple[ServiceSupervisor, DataFolder]] = []

    def start(self, **options: bool) -> ServiceSupervisor:
        folder = DataFolder.open(self.path)
        supervisor = ServiceSupervisor(folder, **options)
        self._running.append((supervisor, folder))
        supervisor.start()
        return supervisor

    def stop(self) -> None:
        while self._running:
            supervisor, folder = self._running.pop()
            supervisor.stop()
            folder.close()


@pytest.fixture
def fresh_program(tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path / "data")
    yield program
    program.stop()


@pytest.fixture
def program(made_servers: Callable[[Path], None], fresh_program: Program) -> Program:
    made_servers(fresh_program.path)
    return fresh_program


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], dict[str, Any]]]]:
    """Starts a launcher process that looks after servers on this test's data folder."""
    started: list[subprocess.Popen[str]] = []

    def launch_on(path: Path = tmp_path / "data", **options: Any) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        command = [sys.executable, "-c", LAUNCHER, str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd="/", **options)
        started.append(process)
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())

    yield launch_on
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def query(url: str | None, statement: str) -> Any:
    assert url is not None
    with psycopg.connect(url, connect_timeout=2, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchone() if cursor.description else None


def cache(url: str | None) -> redis.Redis:
    assert url is not None
    return redis.Redis.from_url(url, decode_responses=True)


def poll_until(
    eventually: Any, supervisor: ServiceSupervisor, service: str, what: str, within_s: float = 8.0
) -> list[str]:
    seen: list[str] = []

    def happened() -> bool:
        events = [event for event in supervisor.poll() if event.service == service]
        seen.extend(event.what for event in events)
        return any(event.what == what for event in events)

    eventually(happened, within_s=within_s, what=f"{service} {what}")
    return seen


def test_given_nothing_when_started_then_both_serve_through_private_sockets_and_no_tcp(fresh_program: Program) -> None:
    supervisor = fresh_program.start()

    assert query(supervisor.database_url, "SHOW listen_addresses") == ("",)
    assert query(supervisor.database_url, "SHOW fsync") == ("on",)
    assert query(supervisor.database_url, "SELECT current_user, current_database()") == ("flora", "flora")
    assert query(
        supervisor.admin_url, "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'"
    ) == (0,)
    with cache(supervisor.cache_url) as client:
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        socket = Path(client.config_get("unixsocket")["unixsocket"])
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700


def test_given_the_url_without_its_password_when_connecting_then_refused(program: Program) -> None:
    url = program.start(cache=False).database_url
    assert url is not None
    head, tail = url.split("@", 1)

    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"{head.rpartition(':')[0]}:wrong@{tail}").close()


def test_given_the_role_of_the_program_when_asking_for_more_then_it_is_no_superuser(program: Program) -> None:
    supervisor = program.start(cache=False)

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        query(supervisor.database_url, "COPY (SELECT 1) TO PROGRAM 'true'")


@pytest.mark.skipif(os.getuid() != 0, reason="about root")
def test_given_root_when_started_then_no_server_runs_as_root(program: Program) -> None:
    supervisor = program.start()

    for pid in supervisor.pids.values():
        assert Path(f"/proc/{pid}").stat().st_uid != 0


def test_given_data_when_stopped_and_started_then_it_is_still_there_and_the_second_start_is_quick(
    program: Program,
) -> None:
    first = program.start()
    query(first.database_url, "CREATE TABLE kept AS SELECT 42 AS answer")
    with cache(first.cache_url) as client:
        client.set("kept", "yes")
    urls = first.database_url, first.cache_url
    program.stop()

    began = time.monotonic()
    second = program.start()
    took_s = time.monotonic() - began

    assert (second.database_url, second.cache_url) == urls
    assert query(second.database_url, "SELECT answer FROM kept") == (42,)
    with cache(second.cache_url) as client:
        assert client.get("kept") == "yes"
    assert took_s < 3


@pytest.mark.fault
@pytest.mark.parametrize("service", ["Postgres", "Valkey"])
def test_given_a_running_server_when_it_is_killed_then_it_is_repaired_with_its_data_and_url(
    program: Program, eventually: Any, service: str
) -> None:
    supervisor = program.start()
    query(supervisor.database_url, "CREATE TABLE kept AS SELECT 42 AS answer")
    with cache(supervisor.cache_url) as client:
        client.set("kept", "yes")
        client.execute_command("WAITAOF", 1, 0, 2000)
    urls = supervisor.database_url, supervisor.cache_url

    for _ in range(2):  # again, so that a pause between tries is passed too
        os.kill(supervisor.pids[service], signal.SIGKILL)
        assert poll_until(eventually, supervisor, service, "restarted") == ["died", "restarted"]

    assert (supervisor.database_url, supervisor.cache_url) == urls
    assert query(supervisor.database_url, "SELECT answer FROM kept") == (42,)
    with cache(supervisor.cache_url) as client:
        assert client.get("kept") == "yes"


@pytest.mark.fault
def test_given_a_busy_writer_when_postgres_is_killed_then_no_acknowledged_row_is_lost(
    program: Program, eventually: Any
) -> None:
    supervisor = program.start(cache=False)
    url = supervisor.database_url
    query(url, "CREATE TABLE written (n int)")
    acknowledged: list[int] = []

    def write_until_cut_off() -> None:
        assert url is not None
        with suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as connection:
            for number in range(1_000_000):
                connection.execute("INSERT INTO written VALUES (%s)", [number])
                acknowledged.append(number)

    writer = threading.Thread(target=write_until_cut_off)
    writer.start()
    eventually(lambda: len(acknowledged) > 50)
    os.kill(supervisor.pids["Postgres"], signal.SIGKILL)
    poll_until(eventually, supervisor, "Postgres", "restarted")
    writer.join()

    count, highest = query(url, "SELECT count(*), max(n) FROM written")
    assert highest >= acknowledged[-1]
    assert count == highest + 1


@pytest.mark.fault
def test_given_both_servers_when_killed_at_once_then_poll_never_takes_long(program: Program, eventually: Any) -> None:
    supervisor = program.start()
    for pid in supervisor.pids.values():
        os.kill(pid, signal.SIGKILL)
    longest_s = 0.0
    ready: set[str] = set()

    def both_are_back() -> bool:
        nonlocal longest_s
        began = time.monotonic()
        ready.update(event.service for event in supervisor.poll() if event.what == "restarted")
        longest_s = max(longest_s, time.monotonic() - began)
        return len(ready) == 2

    eventually(both_are_back, within_s=8)

    assert longest_s < 0.5


@pytest.mark.fault
def test_given_the_launcher_when_killed_then_both_servers_end_and_the_next_start_recovers(
    launch: Any, program: Program, eventually: Any, is_running: Callable[[int], bool], tmp_path: Path
) -> None:
    process, facts = launch()
    query(facts["database"], "CREATE TABLE kept AS SELECT 42 AS answer")
    pids = list(facts["pids"].values())
    children = pids_at_home(program.path / "services/postgres/cluster")
    assert all(is_running(pid) for pid in pids)
    assert len(children) > 1

    process.kill()
    process.wait()
    eventually(lambda: not any(is_running(pid) for pid in pids + children), within_s=3)

    supervisor = program.start()
    assert query(supervisor.database_url, "SELECT answer FROM kept") == (42,)


@pytest.mark.fault
def test_given_the_launcher_when_killed_then_a_start_in_the_same_moment_works(
    launch: Any, program: Program, tmp_path: Path
) -> None:
    process, facts = launch()
    query(facts["database"], "CREATE TABLE kept AS SELECT 42 AS answer")

    process.kill()
    process.wait()
    supervisor = program.start()

    assert query(supervisor.database_url, "SELECT answer FROM kept") == (42,)


@pytest.mark.fault
def test_given_a_pid_file_that_names_another_program_when_started_then_that_program_is_left_alone(
    program: Program, tmp_path: Path
) -> None:
    first = program.start(cache=False)
    os.kill(first.pids["Postgres"], signal.SIGKILL)
    program.stop()
    pid_file = tmp_path / "data/services/postgres/cluster/postmaster.pid"
    lines = pid_file.read_text().splitlines()

    with subprocess.Popen(["sleep", "60"]) as other:
        pid_file.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
        second = program.start(cache=False)

        assert query(second.database_url, "SELECT 1") == (1,)
        assert other.poll() is None
        other.kill()


@pytest.mark.fault
def test_given_an_interrupted_first_start_when_started_again_then_the_half_made_cluster_is_not_taken(
    fresh_program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EmbeddedPostgres, "_single_user", crash)
        with pytest.raises(KeyboardInterrupt):
            fresh_program.start(cache=False)
    assert (tmp_path / "data/services/postgres.new/cluster/PG_VERSION").exists()
    assert not (tmp_path / "data/services/postgres").exists()
    fresh_program.stop()

    supervisor = fresh_program.start(cache=False)

    assert query(supervisor.database_url, "SELECT 1") == (1,)
    assert not (tmp_path / "data/services/postgres.new").exists()


def test_given_a_running_copy_when_a_second_starts_then_it_is_told_who_has_the_folder(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)

    with pytest.raises(Conflict, match=rf"already running .*pid {os.getpid()}") as caught:
        DataFolder.open(tmp_path, wait_s=5)

    assert caught.value.details["pid"] == os.getpid()
    folder.close()
    DataFolder.open(tmp_path).close()


def test_given_a_long_data_folder_when_started_then_the_sockets_are_in_a_short_private_one(
    fresh_program: Program, tmp_path: Path
) -> None:
    fresh_program.path = tmp_path / ("d" * 60) / ("e" * 60)
    supervisor = fresh_program.start()

    assert query(supervisor.database_url, "SELECT 1") == (1,)
    with cache(supervisor.cache_url) as client:
        assert client.ping()
        run = Path(client.config_get("unixsocket")["unixsocket"]).parent
    assert stat.S_IMODE(run.stat().st_mode) == 0o700

    fresh_program.stop()
    assert not run.exists()


def test_given_a_cluster_of_another_version_when_started_then_it_is_refused_and_kept(
    program: Program, tmp_path: Path
) -> None:
    program.start(cache=False)
    program.stop()
    version = tmp_path / "data/services/postgres/cluster/PG_VERSION"
    version.write_text("17\n")

    with pytest.raises(ConfigError, match="Postgres 17"):
        program.start(cache=False)

    assert version.read_text() == "17\n"


def test_given_a_server_that_cannot_start_when_started_then_the_error_has_its_own_words(
    program: Program, tmp_path: Path
) -> None:
    program.start(cache=False)
    program.stop()
    (tmp_path / "data/services/postgres/cluster/pg_hba.conf").write_text("nonsense\n")

    with pytest.raises(StorageError, match="pg_hba"):
        program.start(cache=False)


def test_given_another_thread_when_it_polls_then_refused_because_servers_die_with_their_thread(
    program: Program,
) -> None:
    supervisor = program.start(postgres=False)
    caught: list[BaseException] = []

    def poll() -> None:
        try:
            supervisor.poll()
        except BugError as exc:
            caught.append(exc)

    thread = threading.Thread(target=poll)
    thread.start()
    thread.join()

    assert len(caught) == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root can try another user")
def test_given_a_normal_user_when_started_then_the_servers_are_that_users(launch: Any) -> None:
    if not runs_as(NOBODY):
        pytest.skip("this Python is where no other user can reach it")
    home = Path("/tmp") / f"flora-test-{os.getpid()}"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    try:
        process, facts = launch(home / "data", user=NOBODY, group=NOBODY, extra_groups=[])
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in facts["pids"].values()} == {NOBODY}
        assert query(facts["database"], "SELECT 1") == (1,)
        process.kill()
        process.wait()
    finally:
        subprocess.run(["rm", "-rf", str(home)], check=True)
