"""Fixtures for every test. Helpers of one folder live in that folder's own conftest.py."""

from __future__ import annotations

import asyncio
import fcntl
import inspect
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import psycopg
import pytest
import redis
from hypothesis import HealthCheck, settings
from psycopg import sql

from flora.messages.errors import FloraError
from flora.storage.embedded.folder import DataFolder
from flora.storage.embedded.supervisor import ServiceSupervisor
from flora.storage.postgres import migrate

POLL_EVERY_S = 0.01
ORPHAN_GRACE_S = 5.0
SYSTEMS = "tests/acceptance/"  # most of these tests share one flora
TURNS = (
    "tests/acceptance/test_neighbours.py",  # measures, and so runs beside tests that need one core at most
    SYSTEMS,
    "",  # all that are not named here, in random order
    "tests/sdk/",  # needs every core
    "tests/test_checks.py",
    "tests/faults/test_shutdown.py",  # the long ones of those that mostly wait, so that both processes end together
    "tests/faults/test_soak",
    "tests/faults/test_quarantine.py",
    "tests/faults/",
)
"""In which order two processes take up tests: see `scripts/test`. One process alone runs all in random order."""

# How long an example takes says more about the machine and its other work than about us.
settings.register_profile("flora", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("flora")

# Everything started from here carries this mark in its environment, so that what outlives the run is found. A forked
# child shows the environment of the program that forked it; scripts/test therefore sets the mark before it starts us.
RUN_MARK = "FLORA_TEST_RUN"
MARK = f"{RUN_MARK}={os.environ.setdefault(RUN_MARK, uuid.uuid4().hex)}"
os.environ["SPT_NOENV"] = "1"  # setproctitle would write its title over the environment
# Containers like to set this; without it, every process of every flora would compile all of our modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A shell that runs the suite in the background has it ignore Ctrl-C, and whatever it starts would, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Eventually:
    """Waits for something to become true, with a deadline instead of a sleep.

    `eventually(condition, within_s=5)` in plain tests, `await eventually.soon(condition, within_s=5)` in asyncio tests.
    Both return the first truthy value; both raise AssertionError when it does not come.
    """

    def __call__(self, condition: Callable[[], Any], *, within_s: float = 5.0, what: str = "") -> Any:
        deadline = time.monotonic() + within_s
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(_too_late(condition, within_s, what))
            time.sleep(POLL_EVERY_S)

    async def soon(
        self, condition: Callable[[], Any | Awaitable[Any]], *, within_s: float = 5.0, what: str = ""
    ) -> Any:
        deadline = time.monotonic() + within_s
        while True:
            value = condition()
            if inspect.isawaitable(value):
                value = await value
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(_too_late(condition, within_s, what))
            await asyncio.sleep(POLL_EVERY_S)


def _too_late(condition: Callable[[], Any], within_s: float, what: str) -> str:
    return f"not within {within_s} s: {what or getattr(condition, '__qualname__', repr(condition))}"


@pytest.fixture(scope="session")
def eventually() -> Eventually:
    return Eventually()


def running_in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def missing(what: str) -> NoReturn:
    """Ends a test that needs something this machine does not have: skipped on a laptop, failed in CI."""
    if running_in_ci():
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def made_servers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """`made_servers(data_dir)`: a data folder as a first start of the servers leaves it, copied from one that was made once.

    Making a cluster is a third of the work of a first start.
    """
    made = tmp_path_factory.mktemp("made") / "data"
    folder = DataFolder.open(made)
    try:
        supervisor = ServiceSupervisor(folder)
        supervisor.start()
        supervisor.stop()
    except FloraError as exc:
        missing(f"the embedded servers do not run here: {exc}")
    finally:
        folder.close()
    return lambda data_dir: _copy(made, data_dir)


def _copy(folder: Path, to: Path) -> None:
    subprocess.run(["cp", "-a", str(folder), str(to)], check=True)  # keeps owners, which Python's own copying does not


@pytest.fixture(scope="session")
def embedded_services(
    tmp_path_factory: pytest.TempPathFactory, made_servers: Callable[[Path], None]
) -> Iterator[ServiceSupervisor]:
    """The real Postgres and Valkey, one pair for the whole run."""
    data_dir = tmp_path_factory.mktemp("services") / "data"
    made_servers(data_dir)
    folder = DataFolder.open(data_dir)
    supervisor = None
    try:
        supervisor = ServiceSupervisor(folder)
        supervisor.start()
    except FloraError as exc:
        folder.close()
        missing(f"the embedded servers do not run here: {exc}")
    _waive_durability(supervisor)
    yield supervisor
    supervisor.stop()
    folder.close()


def _waive_durability(services: ServiceSupervisor) -> None:
    """Tests that pull the plug have servers of their own; on this one, waiting for the disk is most of a test's time."""
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        _as_admin(services, sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
    _as_admin(services, sql.SQL("SELECT pg_reload_conf()"))


def _as_admin(services: ServiceSupervisor, statement: sql.Composable) -> None:
    assert services.admin_url is not None
    with psycopg.connect(services.admin_url, autocommit=True) as admin:
        admin.execute(statement)


@contextmanager
def _new_database(services: ServiceSupervisor) -> Iterator[str]:
    assert services.database_url is not None
    name = f"test_{uuid.uuid4().hex}"
    _as_admin(services, sql.SQL("CREATE DATABASE {} OWNER flora").format(sql.Identifier(name)))
    yield _with_database(services.database_url, name)
    _as_admin(services, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def postgres_url(embedded_services: ServiceSupervisor) -> Iterator[str]:
    """A fresh, empty database of this test's own."""
    with _new_database(embedded_services) as url:
        yield url


@pytest.fixture(scope="session")
def _shared_database(embedded_services: ServiceSupervisor) -> Iterator[str]:
    with _new_database(embedded_services) as url:
        migrate(url)
        yield url


@pytest.fixture
def tables_url(_shared_database: str) -> str:
    """A migrated database whose tables are empty; for tests that change rows only, because the next one gets the same."""
    with psycopg.connect(_shared_database) as connection:
        found = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'flora_migrations'"
        ).fetchall()
        names = sql.SQL(", ").join(sql.Identifier(name) for (name,) in found)
        connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(names))
    return _shared_database


@pytest.fixture
def valkey_url(embedded_services: ServiceSupervisor) -> Iterator[str]:
    """An empty Valkey."""
    url = embedded_services.cache_url
    assert url is not None
    _flush(url)
    yield url
    _flush(url)


def _with_database(url: str, name: str) -> str:
    head, _, tail = url.partition("@/flora?")
    return f"{head}@/{name}?{tail}"


def _flush(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.flushall()


def is_running(pid: int) -> bool:
    """Whether a process runs; one that is dead and only waits for its parent to look does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}


@pytest.fixture(scope="session", name="is_running")
def is_running_fixture() -> Callable[[int], bool]:
    return is_running


def _place(node_id: str) -> tuple[int, str]:
    """When a test has its turn, and its lane: tests of one lane run in one process, one after the other."""
    module = node_id.partition("::")[0]
    turn = max((prefix for prefix in TURNS if module.startswith(prefix)), key=len)
    return TURNS.index(turn), SYSTEMS if module.startswith(SYSTEMS) else module


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Whoever of the processes of `scripts/test` has nothing to do takes the next lane."""
    from xdist.scheduler import LoadScopeScheduling

    class Lanes(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _place(nodeid)[1]

    config.option.loadscopereorder = False
    return Lanes(config, log)


class Machine:
    """What the processes of one run share: a test has it beside others, unless it asks to be alone.

    Two locks, held on folders because these are always there: everybody passes the door to get into the room, and whoever
    waits for the room to be empty keeps the door shut.
    """

    def __init__(self) -> None:
        self._door = os.open(Path(__file__).parent, os.O_RDONLY)
        self._room = os.open(Path(__file__).parent / "acceptance", os.O_RDONLY)

    @contextmanager
    def shared(self) -> Iterator[None]:
        self._enter(fcntl.LOCK_SH)
        try:
            yield
        finally:
            fcntl.flock(self._room, fcntl.LOCK_UN)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside `shared`: waits until the other process is between two tests, and keeps it there."""
        fcntl.flock(self._room, fcntl.LOCK_UN)
        self._enter(fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._room, fcntl.LOCK_UN)
            self._enter(fcntl.LOCK_SH)

    def _enter(self, how: int) -> None:
        fcntl.flock(self._door, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._room, how)
        finally:
            fcntl.flock(self._door, fcntl.LOCK_UN)


MACHINE = Machine()


@pytest.fixture(scope="session")
def machine() -> Machine:
    return MACHINE


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    with MACHINE.shared():
        return (yield)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _place(item.nodeid)[0])


def _left_over(basetemp: Path) -> dict[int, str]:
    """Processes that this run started and that still run, with their command lines. Linux only."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            ours = MARK.encode() in (entry / "environ").read_bytes().split(b"\0") or (
                basetemp in (entry / "cwd").readlink().parents or str(basetemp) in command
            )
            if ours and pid not in {os.getpid(), os.getppid()} and is_running(pid):
                found[pid] = command
    return found


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """No process that the suite started outlives it."""
    if hasattr(session.config, "workerinput"):
        return  # the other one may still be running; the process that started both looks when they are done
    basetemp = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    deadline = time.monotonic() + ORPHAN_GRACE_S
    while (left := _left_over(basetemp)) and time.monotonic() < deadline:
        time.sleep(POLL_EVERY_S)
    if left:
        listed = "\n".join(f"  {pid}: {command}" for pid, command in left.items())
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"\nprocesses left behind by the tests:\n{listed}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Shows how much each attack disturbed its neighbours: what `told_in_table` of tests/acceptance was told."""
    reports = (report for found in terminalreporter.stats.values() for report in found)
    noted = (report.user_properties for report in reports if getattr(report, "when", "") == "call")
    rows = [values for properties in noted for name, values in properties if name == "attack"]
    if rows:
        terminalreporter.section("what neighbours noticed of an attack")
        heads = f"{'quiet ms':>9} {'beside ms':>9} {'ratio':>6}"
        terminalreporter.write_line(f"{'attack':40} {heads}  what the author was told")
    for attack, quiet_ms, beside_ms, told in sorted(rows, key=lambda row: row[1] / row[2]):
        figures = f"{quiet_ms:9.2f} {beside_ms:9.2f} {beside_ms / quiet_ms:6.2f}"
        terminalreporter.write_line(f"{attack:40} {figures}  {' '.join(told.split())[:60]}")
