"""How the compiler looks after its isolate and its memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flora.actors.compile import compiler as compiler_module
from flora.actors.compile.compiler import ScriptCompiler
from flora.messages.deployment import Compiled
from flora.messages.errors import BundleFailed
from flora.messages.settings import RuntimeSettings

pytestmark = pytest.mark.service

CompileFiles = Callable[..., Compiled]


@pytest.fixture
def fresh(typescript: Path, v8: None) -> ScriptCompiler:
    return ScriptCompiler(RuntimeSettings(max_bundle_files=3, max_bundle_total_bytes=1000), typescript)


def test_given_limits_when_a_project_is_over_them_then_they_are_named(
    fresh: ScriptCompiler, compile_files: CompileFiles
) -> None:
    with pytest.raises(BundleFailed, match=r"^invalid file path: too many files \(max 3\)$"):
        compile_files(dict.fromkeys(["main.ts", "a.ts", "b.ts", "c.ts"], ""), using=fresh)
    with pytest.raises(BundleFailed, match=r"^invalid file path: bundle exceeds size limit \(max 1000 bytes\)$"):
        compile_files({"main.ts": "x" * 1001}, using=fresh)


def test_given_no_typescript_when_compiled_then_it_is_not_loaded(
    fresh: ScriptCompiler, compile_files: CompileFiles
) -> None:
    assert not fresh.is_warm()
    compile_files({"main.json": "{}"}, entry="main.json", using=fresh)
    assert not fresh.is_warm()

    compile_files({"main.ts": "let a: 1"}, using=fresh)

    assert fresh.is_warm()
    fresh.close()


def test_given_a_failure_that_spoils_the_isolate_when_over_then_it_is_gone(
    fresh: ScriptCompiler, typescript: Path, compile_files: CompileFiles
) -> None:
    compile_files({"main.ts": "let a: 1"}, using=fresh)
    with pytest.raises(BundleFailed):
        compile_files({"main.ts": "let a: = 1"}, using=fresh)
    assert fresh.is_warm(), "an ordinary fault of the author spoils nothing"

    roomy = ScriptCompiler(RuntimeSettings(), typescript)
    with pytest.raises(BundleFailed, match="nested too deeply"):
        compile_files({"main.ts": "(" * 20_000}, using=roomy)
    assert not roomy.is_warm()
    fresh.close()


def test_given_an_isolate_that_has_grown_when_the_project_is_done_then_it_is_let_go(
    fresh: ScriptCompiler, compile_files: CompileFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler_module, "_HEAP_KEPT_BYTES", 1)

    compile_files({"main.ts": "let a: 1"}, using=fresh)

    assert not fresh.is_warm()


def test_given_a_small_cache_when_much_is_compiled_then_old_files_are_compiled_again(
    typescript: Path, v8: None, compile_files: CompileFiles
) -> None:
    small = ScriptCompiler(RuntimeSettings(), typescript, cache_chars=2500)
    first = compile_files({"main.ts": "let first: 1"}, using=small)
    small.close()
    assert compile_files({"main.ts": "let first: 1"}, using=small) == first
    assert not small.is_warm(), "it came from the cache"

    for number in range(3):
        compile_files({"main.ts": f"let a{number}: 1"}, using=small)
    small.close()
    compile_files({"main.ts": "let first: 1"}, using=small)

    assert small.is_warm(), "it was compiled again"
    small.close()
