from __future__ import annotations

import os
from pathlib import Path

import pytest

from flora.messages.errors import ConfigError
from flora.storage.embedded import privileges
from flora.storage.embedded.privileges import (
    CAP_DAC_OVERRIDE,
    CAP_DAC_READ_SEARCH,
    NO_CAPABILITY,
    SERVICE_ID,
    service_identity,
)

OPEN_PROGRAM = Path("/bin/sh")
BOTH = 1 << CAP_DAC_READ_SEARCH | 1 << CAP_DAC_OVERRIDE


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A folder that others may not enter, with a program in it that they might run."""
    program = tmp_path / "closed" / "program"
    program.parent.mkdir(mode=0o700)
    program.touch()
    program.chmod(0o755)
    return program


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(privileges, "_held_capabilities", lambda: BOTH)
    return monkeypatch


def test_given_a_normal_user_when_asked_then_the_servers_stay_that_user(
    monkeypatch: pytest.MonkeyPatch, closed: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert not service_identity([closed]).changes


def test_given_root_and_open_folders_when_asked_then_no_capability_is_kept(as_root: pytest.MonkeyPatch) -> None:
    identity = service_identity([OPEN_PROGRAM, OPEN_PROGRAM.parent])

    assert (identity.uid, identity.gid, identity.capability) == (SERVICE_ID, SERVICE_ID, NO_CAPABILITY)


def test_given_root_and_a_closed_folder_when_asked_then_only_the_right_to_pass_is_kept(
    as_root: pytest.MonkeyPatch, closed: Path
) -> None:
    assert service_identity([OPEN_PROGRAM, closed]).capability == CAP_DAC_READ_SEARCH


def test_given_a_container_without_that_capability_when_asked_then_the_other_one_is_used(
    as_root: pytest.MonkeyPatch, closed: Path
) -> None:
    as_root.setattr(privileges, "_held_capabilities", lambda: 1 << CAP_DAC_OVERRIDE)

    assert service_identity([closed]).capability == CAP_DAC_OVERRIDE


def test_given_a_program_that_only_root_may_run_when_asked_then_passing_is_not_enough(
    as_root: pytest.MonkeyPatch, closed: Path
) -> None:
    closed.chmod(0o700)

    assert service_identity([closed]).capability == CAP_DAC_OVERRIDE


def test_given_no_way_to_reach_a_path_when_asked_then_the_error_names_it(
    as_root: pytest.MonkeyPatch, closed: Path
) -> None:
    as_root.setattr(privileges, "_held_capabilities", lambda: 0)

    with pytest.raises(ConfigError, match=str(closed)):
        service_identity([closed])
