"""Running floras to break. The means are those of tests/acceptance, loaded by path: folders of tests are no packages."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_NAME = "flora_tests_acceptance_conftest"
if _NAME not in sys.modules:
    _spec = importlib.util.spec_from_file_location(_NAME, Path(__file__).parents[1] / "acceptance" / "conftest.py")
    assert _spec is not None
    assert _spec.loader is not None
    sys.modules[_NAME] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[_NAME])
_acceptance: Any = sys.modules[_NAME]

built_sdk = _acceptance.built_sdk
make_flora = _acceptance.make_flora
wait_for = _acceptance.wait_for
patience = _acceptance.patience
refused = _acceptance.refused
pytest_runtest_makereport = _acceptance.pytest_runtest_makereport


@pytest.fixture(scope="module")
def broken_flora(
    tmp_path_factory: pytest.TempPathFactory,
    built_sdk: None,
    made_servers: Callable[[Path], None],
    request: pytest.FixtureRequest,
) -> Iterator[Any]:
    """One flora for all tests of a module, which may say with what SETTINGS.

    They kill its parts, and each waits until that is repaired.
    """
    settings = getattr(request.module, "SETTINGS", _acceptance.SHARED_SETTINGS)
    running = _acceptance.helper.RunningFlora(tmp_path_factory.mktemp("flora"), settings)
    made_servers(running.folder / "data")
    try:
        running.start()
        running.unlimited()
        yield running
        running.end()
    finally:
        running.destroy()
