"""Means to look at what stores leave on the disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from flora.messages.ids import GuildId
from flora.messages.kv import KvEntry
from flora.storage.kv import KvFiles, KvLimits
from flora.storage.ports import KvGuild

UNLIMITED = KvLimits(writes_per_minute=0)
OpenFiles = Callable[..., KvFiles]


@pytest.fixture
def open_files(tmp_path: Path) -> Iterator[OpenFiles]:
    """`open_files(durability=…)`: stores below the test's folder, or below `root`; closed at the end."""
    with ExitStack() as stack:

        def make(root: Path = tmp_path, **options: Any) -> KvFiles:
            files = KvFiles(root, **({"limits": UNLIMITED} | options))
            stack.callback(files.close)
            return files

        yield make


@pytest.fixture
def contents() -> Callable[[KvGuild, str], dict[str, KvEntry]]:
    """Everything in a store."""

    def read(kv: KvGuild, store: str) -> dict[str, KvEntry]:
        snapshot = kv.snapshot(store)
        try:
            return dict(snapshot.entries())
        finally:
            snapshot.close()

    return read


@pytest.fixture
def data_of(tmp_path: Path) -> Callable[[str], Path]:
    """The data file of a store of guild 1."""
    return lambda store: tmp_path / "g-1" / f"s-{store}" / "data"


class Fsyncs:
    """Syncs that are only written down, by the name of the file; `fail` makes the next ones fail."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.fail: OSError | None = None

    def __call__(self, fileno: int) -> None:
        self.names.append(Path(f"/proc/self/fd/{fileno}").readlink().name)
        if self.fail is not None:
            raise self.fail
        os.fsync(fileno)


@pytest.fixture
def fsyncs() -> Fsyncs:
    return Fsyncs()


@pytest.fixture
def guild() -> GuildId:
    return GuildId("1")
