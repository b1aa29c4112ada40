"""A running flora: one for all tests of a module that leave it whole, or one of a test's own.

The helper modules beside this file are loaded by their path, here and by tests/faults: folders of tests are no packages.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from flora.messages.errors import ConfigError


def load_helper(module: str) -> ModuleType:
    """A helper module, once per run."""
    name = f"flora_tests_{module}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{module}.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


helper = load_helper("running_flora")

StartFlora = Callable[..., Any]

# Two workers: enough to tell one from the others, and little enough for a machine with two cores.
SHARED_SETTINGS = {
    "RUNTIME_MAX_WORKERS": "2",
    "RUNTIME_DISPATCH_TIMEOUT_SECS": "2",
    "RUNTIME_MAX_SCRIPT_BYTES": "100000",
    "RUNTIME_REBALANCE": "false",  # tests choose workers by ids, and count in variables of scripts, which stay behind in a move
}


AT_REST_PER_S = 40  # what cron jobs and timers of guilds that tests left behind may do


@pytest.fixture(scope="session")
def built_sdk() -> None:
    from flora.actors.sdk_files import sdk_path

    try:
        sdk_path("sdk.js")
    except ConfigError as exc:
        pytest.fail(str(exc), pytrace=False)


@pytest.fixture(scope="session")
def flora(tmp_path_factory: pytest.TempPathFactory, built_sdk: None) -> Iterator[Any]:
    """A running flora that all tests share: each takes guilds of its own, and leaves the processes alone."""
    running = helper.RunningFlora(tmp_path_factory.mktemp("flora"), SHARED_SETTINGS)
    try:
        running.start()
        running.unlimited()
        yield running
        begun = running.metrics()["dispatch_total"]
        time.sleep(1.0)
        begun = running.metrics()["dispatch_total"] - begun
        assert begun < AT_REST_PER_S, (
            f"{begun:g} events a second without a test: a script answers itself, see `flora trace list`"
        )
        running.end()
    finally:
        running.destroy()


@pytest.fixture
def make_flora(tmp_path: Path, built_sdk: None, made_servers: Callable[[Path], None]) -> Iterator[StartFlora]:
    """Makes floras of this test's own, not yet started: `make_flora({"API_PORT": "0"}).start()`.

    Their first start finds its database cluster made; with `nothing_made=True` it makes it as a person's first start does.
    """
    made: list[Any] = []

    def make(settings: Mapping[str, str] = SHARED_SETTINGS, *, nothing_made: bool = False, **more: Any) -> Any:
        folder = tmp_path / f"flora{len(made)}"
        folder.mkdir()
        if not nothing_made:
            made_servers(folder / "data")
        made.append(helper.RunningFlora(folder, settings, **more))
        return made[-1]

    yield make
    for running in made:
        running.end()


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., Any]:
    """`wait_for(condition, within_s, what)`: the first truthy value."""
    return helper.wait_for  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def patience() -> Callable[[], float]:
    """By how much to stretch a limit on this machine at this moment; for what is held to a time by its clock."""
    return helper.patience  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def refused() -> type[Exception]:
    """What `flora.api` raises when the answer is an error."""
    return helper.Refused  # type: ignore[no-any-return]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Shows the end of flora's own output with a failed test."""
    outcome: Any = yield
    report = outcome.get_result()
    if not report.failed:
        return
    for value in getattr(item, "funcargs", {}).values():
        if isinstance(value, helper.RunningFlora):
            report.sections.append(("flora's stderr", value.stderr_tail()))


AFTER_ATTACKS_S = 15.0  # what the last attacker left queued has the ten seconds that a shutdown gives it


@pytest.fixture(scope="module")
def neighbours_of(
    tmp_path_factory: pytest.TempPathFactory, built_sdk: None, made_servers: Callable[[Path], None]
) -> Iterator[Callable[..., Any]]:
    """`neighbours_of(settings)`: a flora of the module's own with its twenty healthy guilds."""
    made: list[Any] = []

    def make(settings: Mapping[str, str]) -> Any:
        running = helper.RunningFlora(tmp_path_factory.mktemp("flora"), settings)
        made_servers(running.folder / "data")
        made.append(running)
        running.start()
        running.unlimited()
        return load_helper("neighbours").Neighbours(running)

    yield make
    for running in made:
        running.stop(within_s=AFTER_ATTACKS_S)
        running.end()


@pytest.fixture
def told_in_table(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Adds a line to the table of attacks at the end of the run."""
    return lambda *values: record_property("attack", values)
