from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHELL_SCRIPTS = [
    path
    for folder in (ROOT / "scripts", ROOT / ".ci")
    for path in sorted(folder.iterdir())
    if path.is_file() and path.read_bytes().startswith(b"#!/bin/sh")
]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_given_this_tree_when_checked_then_format_lint_and_types_are_clean() -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "check"],
        env={**os.environ, "FLORA_VENV": sys.prefix},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_given_a_script_when_read_by_a_plain_shell_then_it_parses_and_may_be_run(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0


@pytest.mark.parametrize("lock", sorted(ROOT.glob("requirements*.lock")), ids=lambda path: path.name)
def test_given_a_lock_file_when_read_then_all_is_pinned_by_hash_and_no_index_is_named(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    pins = [line for line in text.splitlines() if line and not line.startswith(("#", " "))]

    assert pins
    assert all("==" in line and line.endswith("\\") for line in pins)
    assert "://" not in text
    assert "--index" not in text


def test_given_scenarios_when_asked_for_one_with_and_one_without_a_test_then_the_exit_status_says_so() -> None:
    def ask(*ids: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([ROOT / "scripts" / "scenarios", *ids], capture_output=True, text=True, check=False)

    assert ask("T02", "T07").returncode == 0
    assert ask("T02", "T99999").returncode == 1
    assert "T02" in ask().stdout
