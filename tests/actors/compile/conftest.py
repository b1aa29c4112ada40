"""A compiler that is loaded once, and a real isolate that runs what it makes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from py_mini_racer import MiniRacer

from flora.actors.compile.compiler import ScriptCompiler
from flora.actors.compile.isolates import typescript_path
from flora.actors.isolate.v8 import init_v8
from flora.messages.deployment import Compile, Compiled, SourceFile
from flora.messages.ids import GuildId, ReqId
from flora.messages.settings import RuntimeSettings

_HOST = """
globalThis.out = []
globalThis.console = { log: (...args) => void out.push(args.map(String).join(' ')) }
"""
# Like an engine's host, but awaits the script and says how it ended.
_RUN = """(async function () {"use strict";
%s
})//# sourceURL=file:///guild/42/bundle.js
"""

_NODE_HOST = """
const lines = []
console.log = (...args) => void lines.push(args.map(String).join(' '))
const idle = () => new Promise((done) => setTimeout(done, 1))
const all = []
for (const folder of process.argv.slice(2)) {
  await import(`${folder}/main.js`).catch((error) => console.log(`failed: ${error.message}`))
  await idle()
  all.push(lines.splice(0))
}
process.stdout.write(JSON.stringify(all))
"""


@pytest.fixture(scope="session")
def typescript() -> Path:
    try:
        return typescript_path()
    except FileNotFoundError as exc:
        pytest.fail(f"{exc}: run scripts/test, which builds it")


@pytest.fixture(scope="session")
def v8() -> None:
    """V8 as the engine starts it: the first to start it in a process decides its flags for all tests."""
    init_v8()


@pytest.fixture(scope="session")
def compiler(typescript: Path, v8: None) -> Iterator[ScriptCompiler]:
    """One warm compiler for all tests; safe to share, because a failure that spoils it makes it start again."""
    compiler = ScriptCompiler(RuntimeSettings())
    compiler.warm_up()
    yield compiler
    compiler.close()


CompileFiles = Callable[..., Compiled]


@pytest.fixture
def compile_files(compiler: ScriptCompiler) -> CompileFiles:
    """`compile_files({path: text}, entry="main.ts")`."""

    def compile_them(files: Mapping[str, str], entry: str = "main.ts", using: ScriptCompiler = compiler) -> Compiled:
        sources = tuple(SourceFile(path=path, contents=text) for path, text in files.items())
        return using.compile(_request(entry=entry, files=sources))

    return compile_them


@pytest.fixture
def compile_bundle(compiler: ScriptCompiler) -> CompileFiles:
    """`compile_bundle(text, source_map_json=None)`."""

    def compile_it(bundle: str, source_map: str | None = None) -> Compiled:
        given = None if source_map is None else SourceFile(path="bundle.js.map", contents=source_map)
        return compiler.compile(_request(bundle=bundle, source_map=given))

    return compile_it


def _request(
    entry: str = "main.ts",
    files: tuple[SourceFile, ...] | None = None,
    bundle: str | None = None,
    source_map: SourceFile | None = None,
) -> Compile:
    return Compile(
        req_id=ReqId("1"), guild_id=GuildId("42"), entry=entry, files=files, bundle=bundle, source_map=source_map
    )


@pytest.fixture
def run_script(v8: None) -> Callable[[str], list[str]]:
    """Runs a script in a fresh isolate; gives what it logged, and `failed: <message>` if it threw."""
    return lambda script: _run(script)[0]


@pytest.fixture
def stack_of(v8: None) -> Callable[[str], str]:
    """Runs a script that must throw; gives the stack of what it threw."""
    return lambda script: _run(script)[1]


def _run(script: str) -> tuple[list[str], str]:
    with MiniRacer() as racer:
        racer.eval(_HOST)
        scope: Any = racer.eval("globalThis")
        scope["script"] = racer.eval(_RUN % script, timeout_sec=10)
        racer.eval(
            "globalThis.stack = '';"
            "script().catch((error) => { out.push(`failed: ${error.message}`); stack = String(error.stack) }); 0",
            timeout_sec=10,
        )
        lines: list[str] = racer.execute("out")
        return lines, str(racer.eval("stack"))


@pytest.fixture(scope="session")
def run_in_node(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[Mapping[str, str]]], Any]:
    """Runs projects as real modules, all in one process; gives what each logged. Skips where there is no node."""
    node = shutil.which("node")

    def run(projects: Sequence[Mapping[str, str]]) -> Any:
        if node is None:
            pytest.skip("no node to compare with")
        root = tmp_path_factory.mktemp("node")
        (root / "package.json").write_text('{"type": "module"}')
        (root / "host.js").write_text(_NODE_HOST)
        folders = []
        for number, project in enumerate(projects):
            for path, text in project.items():
                file = root / str(number) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            folders.append(str(root / str(number)))
        done = subprocess.run([node, "host.js", *folders], cwd=root, capture_output=True, check=True, timeout=60)
        return json.loads(done.stdout)

    return run
