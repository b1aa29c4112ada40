"""The SDK package: its build, its own tests and its lock file."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SDK = Path(__file__).resolve().parents[2] / "sdk"
PINNED = re.compile(r"\d+\.\d+\.\d+(-[\w.]+)?")

needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")


def test_given_the_lock_file_when_read_then_it_names_no_host() -> None:
    text = (SDK / "package-lock.json").read_text()

    assert "://" not in text
    assert "resolved" not in text


def test_given_the_lock_file_when_read_then_every_package_has_a_checksum() -> None:
    packages = json.loads((SDK / "package-lock.json").read_text())["packages"]

    unchecked = [name for name, entry in packages.items() if name and "integrity" not in entry]

    assert len(packages) > 2
    assert unchecked == []


def test_given_the_package_file_when_read_then_every_version_is_exact() -> None:
    package = json.loads((SDK / "package.json").read_text())

    assert package["devDependencies"]
    assert all(PINNED.fullmatch(version) for version in package["devDependencies"].values())
    assert "dependencies" not in package


@pytest.mark.slow
@pytest.mark.timeout(300)
@needs_npm
def test_given_the_package_when_npm_test_runs_then_it_builds_type_checks_and_passes() -> None:
    if not (SDK / "node_modules").is_dir():
        subprocess.run(["npm", "ci"], cwd=SDK, check=True, capture_output=True, timeout=120)

    done = subprocess.run(["npm", "test"], check=False, cwd=SDK, capture_output=True, text=True, timeout=240)

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    built = {path.name for path in (SDK / "dist").iterdir()}
    assert {"prelude.js", "fetch.js", "sdk.js", "starter.json", "flora.d.ts", "web.d.ts", "builders.d.ts", "typescript.js"} <= built
