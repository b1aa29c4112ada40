"""TypeScript projects: what is erased, what is refused, and where errors point."""

# ruff: noqa: E501  (a guest program or a message on its line is easier to read than a wrapped one)

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flora.actors.compile.compiler import ScriptCompiler
from flora.actors.isolate.error_text import ErrorText
from flora.messages.deployment import Compiled
from flora.messages.errors import BundleFailed
from flora.messages.settings import RuntimeSettings

pytestmark = pytest.mark.service

Run = Callable[[str], list[str]]
CompileFiles = Callable[..., Compiled]


def _refused(compile_files: CompileFiles, files: dict[str, str], entry: str = "main.ts") -> BundleFailed:
    with pytest.raises(BundleFailed) as caught:
        compile_files(files, entry=entry)
    return caught.value


def test_given_types_everywhere_when_compiled_then_only_values_are_left(
    compile_files: CompileFiles, run_script: Run
) -> None:
    files = {
        "src/main.ts": """
import type { Message } from './types'
import { type Context, Level, Alias } from './types'
import { Message as Again } from '@uwu/flora-sdk'
import Unused from './nowhere'
export { Message, Alias } from './types'
export type { Context }
abstract class Base<T> { constructor(private readonly level: T, protected n?: number) {} get it(): T { return this.level } }
class Bot extends Base<Level> { declare x: string; accessor y = 2 }
const bot = new Bot(Level.High) satisfies Base<Level>
let message!: Message & Again & Alias
namespace Tools { export const twice = (n: number): number => n * 2 }
function over(a: string): void
function over(a: unknown): void { console.log(a as string) }
over(`${bot.it} ${Level[2]} ${bot.y} ${Tools.twice(4)!} ${typeof message} ${<number>1}`)
""",
        "src/types.ts": "export interface Message { id: string }\ninterface Hidden {}\nexport type { Hidden as Alias }\n"
        "export type Context = { msg: Message }\nexport enum Level { Low = 1, High }",
    }

    assert run_script(compile_files(files, entry="src/main.ts").script) == ["2 High 2 8 undefined 1"]


def test_given_types_passed_on_without_saying_so_when_compiled_then_they_are_dropped(
    compile_files: CompileFiles, run_script: Run
) -> None:
    files = {
        "main.ts": "import { A, b } from './barrel'\nimport { C } from './all'\nexport { C }\nlet a: A\nconsole.log(b)",
        "barrel.ts": "import { A, b } from './types'\nexport { A, b }",
        "all.ts": "export { C } from './stars'",
        "stars.ts": "export type * from './types'",
        "types.ts": "export interface A {}\nexport const b = 1\nexport interface C {}",
    }

    assert run_script(compile_files(files).script) == ["1"]


def test_given_decorators_and_using_when_compiled_then_they_work(compile_files: CompileFiles, run_script: Run) -> None:
    source = (
        "const log = (value: Function, context: ClassMethodDecoratorContext) => { console.log('decorates', context.name) }\n"
        "class A { @log run() {} }\n"
        "{ using a = { [Symbol.dispose ?? Symbol.for('d')]() { console.log('disposed') } } as any; console.log('used') }"
    )

    assert run_script(compile_files({"main.ts": source}).script) == ["decorates run", "used", "disposed"]


def test_given_less_than_not_decrement_when_compiled_then_it_is_no_comment(
    compile_files: CompileFiles, run_script: Run
) -> None:
    for extension in ("ts", "js"):
        script = compile_files(
            {f"main.{extension}": "let a = 1, b = 2\nconsole.log(a<!--b)"}, entry=f"main.{extension}"
        ).script
        assert run_script(script) == ["false"]


@pytest.mark.parametrize(
    "path", ["main.ts", "main.mts", "main.cts", "main.tsx", "main.js", "main.mjs", "main.cjs", "main.jsx"]
)
def test_every_extension_compiles(path: str, compile_files: CompileFiles, run_script: Run) -> None:
    assert run_script(compile_files({path: "export const a = 1; console.log(await a)"}, entry=path).script) == ["1"]


def test_given_json_when_imported_then_it_is_a_value(compile_files: CompileFiles, run_script: Run) -> None:
    files = {
        "main.ts": "import a from './a.json'\nconsole.log(a.b, a.__proto__ === 1, a.c)",
        "a.json": '{"b": [1], "c": "\u2028"}',
    }

    assert run_script(compile_files(files).script) == ["1 false \u2028"]


def test_given_broken_json_when_compiled_then_its_place_is_named(compile_files: CompileFiles) -> None:
    refused = _refused(compile_files, {"main.ts": "import a from './a.json'\na", "a.json": '{\n "b": }'})

    assert str(refused).startswith("failed to parse a.json: a.json:2:7 - ")
    for text in ("NaN", "[" * 100_000, '"\\x"', ""):
        assert str(_refused(compile_files, {"main.ts": "import './a.json'", "a.json": text})).startswith(
            "failed to parse a"
        )


@pytest.mark.parametrize("source", ["", "\n", "// nothing", "/* */", "export {}", "import type { A } from './nowhere'"])
def test_given_a_blank_file_when_compiled_then_it_does_nothing(
    source: str, compile_files: CompileFiles, run_script: Run
) -> None:
    files = {"main.ts": "import './blank'\nconsole.log(1)", "blank.ts": source}

    assert run_script(compile_files(files).script) == ["1"]
    assert run_script(compile_files({"main.ts": source}).script) == []


def test_given_files_nobody_imports_when_compiled_then_they_are_not_read(
    compile_files: CompileFiles, run_script: Run
) -> None:
    files = {"main.ts": "console.log(1)", "package.json": "{", "broken.ts": "(((", "logo.png": "\x01"}

    assert run_script(compile_files(files).script) == ["1"]


def test_given_imports_from_the_sdk_when_run_then_they_are_the_globals(
    compile_files: CompileFiles, run_script: Run
) -> None:
    source = "import { console as log, type Context } from '@uwu/flora-sdk'\nlog.log('hello')"

    assert run_script(compile_files({"main.ts": source}).script) == ["hello"]


def test_given_an_unknown_name_from_the_sdk_when_run_then_it_is_named(
    compile_files: CompileFiles, run_script: Run
) -> None:
    script = compile_files({"main.ts": "import { prefixx } from '@uwu/flora-sdk'\nprefixx()"}).script

    assert run_script(script) == ["failed: @uwu/flora-sdk has no export named prefixx"]


def test_given_import_meta_when_run_then_it_names_the_module(compile_files: CompileFiles, run_script: Run) -> None:
    files = {
        "main.ts": "import './x\"y'\nconsole.log(import.meta.url, import.meta === import.meta)",
        'x"y.ts': "console.log(import.meta.url)",
    }

    assert run_script(compile_files(files).script) == ['file:///guild/42/x"y.ts', "file:///guild/42/main.ts true"]


@pytest.mark.parametrize(
    ("source", "message", "line", "column"),
    [
        ("let a = 1\nlet b = ;\n", "failed to parse main.ts: main.ts:2:9 - error TS1109: Expression expected.", 2, 9),
        ("let a: = 1", "failed to parse main.ts: main.ts:1:8 - error TS1110: Type expected.", 1, 8),
        ("let a = 1\nlet a = 2", "failed to parse main.ts: main.ts:2:5 - SyntaxError: Identifier 'a' has already been declared", 2, 5),
        ("return 1", "failed to parse main.ts: main.ts:1:1 - A 'return' statement can only be used within a function body.", 1, 1),
        ("const a = 1\nexport { a, a }", "failed to parse main.ts: main.ts:1:1 - Duplicate export of 'a'.", 1, 1),
        ("export { a }", "failed to parse main.ts: main.ts:1:1 - Export 'a' is not defined in this module.", 1, 1),
        ("import './nope'", "missing module: ./nope (main.ts:1:8)", 1, 8),
        ("\nimport x from 'lodash'\nx()", "unsupported import: lodash (main.ts:2:15); only files of the project (./ and ../) can be imported", 2, 15),
        ("import fs from 'node:fs'\nfs()", "unsupported import: node:fs (main.ts:1:16); only files of the project (./ and ../) can be imported", 1, 16),
        ("x(await import('./y'))", 'unsupported import: import("./y") (main.ts:1:9); only static imports of files of the project are possible', 1, 9),
        ("import { no } from './other'\nno()", "missing export: no is not exported by ./other (main.ts:1:20)", 1, 20),
        ("import x = require('./other')", "failed to transpile main.ts: main.ts:1:1 - `import … = require()` is not available in guild scripts; write `import … from`", 1, 1),
        ("export = 1", "failed to transpile main.ts: main.ts:1:1 - `export =` is not available in guild scripts; write `export default`", 1, 1),
        ("let $flora$n = 1", "failed to transpile main.ts: main.ts:1:1 - names that begin with $flora$ are reserved", 1, 1),
        ("import * as sdk from '@uwu/flora-sdk'\nsdk", "unsupported import: @uwu/flora-sdk (main.ts:1:22); the SDK's values are globals: import single names or nothing", 1, 22),
    ],
)  # fmt: skip
def test_faults_name_their_place(
    source: str, message: str, line: int, column: int, compile_files: CompileFiles
) -> None:
    refused = _refused(compile_files, {"main.ts": source, "other.ts": ""})

    assert str(refused) == message
    assert refused.code == "BUNDLE_FAILED"
    assert refused.details == {"file": "main.ts", "line": line, "column": column}


def test_given_jsx_when_compiled_then_it_is_refused_by_name(compile_files: CompileFiles) -> None:
    for path in ("main.tsx", "main.jsx", "main.js"):
        refused = _refused(compile_files, {path: "const a = 1\nconst b = <p>{a}</p>"}, entry=path)
        assert str(refused) == f"failed to transpile {path}: {path}:2:11 - JSX is not available in guild scripts"


@pytest.mark.parametrize("entry", ["nope.ts", "../main.ts", "", "/main.ts"])
def test_given_no_such_entry_when_compiled_then_it_is_named(entry: str, compile_files: CompileFiles) -> None:
    assert str(_refused(compile_files, {"main.ts": ""}, entry=entry)) == f"entry file not found: {entry}"


def test_given_an_entry_to_be_normalised_when_compiled_then_found(compile_files: CompileFiles, run_script: Run) -> None:
    assert run_script(compile_files({"./src/main.ts": "console.log(1)"}, entry="src/../src/main.ts").script) == ["1"]


def test_given_an_error_in_a_module_when_run_then_the_stack_names_authors_places(
    compile_files: CompileFiles, stack_of: Callable[[str], str]
) -> None:
    files = {
        "src/main.ts": "import { fail } from './lib/fail'\n\ninterface Gone { a: 1 }\nfunction start(): void {\n  fail('x')\n}\nstart()",
        "src/lib/fail.ts": "type T = string\n\nexport function fail(what: T): never {\n  throw new TypeError(what)\n}",
    }
    compiled = compile_files(files, entry="src/main.ts")

    shown = ErrorText.of("42", compiled.source_map).render(stack_of(compiled.script))

    assert shown.split("\n")[:4] == [
        "TypeError: x",
        "    at fail (src/lib/fail.ts:4:9)",
        "    at start (src/main.ts:5:3)",
        "    at src/main.ts:7:1",
    ]
    assert "bundle.js" not in shown


@pytest.mark.parametrize("extension", ["ts", "js"])
def test_given_one_file_when_it_throws_then_its_place_is_shown(
    extension: str, compile_files: CompileFiles, stack_of: Callable[[str], str]
) -> None:
    compiled = compile_files({f"a.{extension}": "const a = 1\n\nconst b = a; null.x"}, entry=f"a.{extension}")

    assert f"    at a.{extension}:3:" in ErrorText.of("42", compiled.source_map).render(stack_of(compiled.script))


HOSTILE_NAMES = ["__proto__.ts", "constructor.ts", "toString.ts", "a'b.ts", 'a"b.ts', "a`${b}.ts", "a\nb.ts", "a\u2028b.ts", "*/ } }.ts", "a\\b.ts", "x//# sourceURL=x.ts"]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_given_a_hostile_file_name_when_compiled_then_it_is_just_a_name(
    name: str, compile_files: CompileFiles, run_script: Run
) -> None:
    specifier = json.dumps(f"./{name}")
    files = {
        "main.ts": f"import {{ a }} from {specifier}\nconsole.log(a)",
        name: "export const a = 1; console.log(import.meta.url)",
    }

    assert run_script(compile_files(files).script) == [
        f"file:///guild/42/{'/'.join(p for p in name.split('/') if p)}",
        "1",
    ]


DEEP = [
    "(" * 20_000 + ")" * 20_000,
    "let a = " + "[" * 20_000 + "]" * 20_000,
    "`${" * 20_000,
    "if (1)" * 20_000 + ";",
    "type A = " + "Array<" * 20_000 + "1" + ">" * 20_000,
    "a" + ".b()" * 50_000,
    "let x = " + "1 ? 2 : " * 50_000 + "3",
]


@pytest.mark.parametrize("source", DEEP, ids=range(len(DEEP)))
def test_given_hostile_nesting_when_compiled_then_refused_and_the_next_one_compiles(
    source: str, compile_files: CompileFiles, run_script: Run
) -> None:
    assert str(_refused(compile_files, {"main.ts": source})).startswith("failed to parse main.ts: ")

    assert run_script(compile_files({"main.ts": "console.log(1 as number)"}).script) == ["1"]


def test_given_a_text_that_takes_too_long_when_compiled_then_it_is_ended_and_the_next_one_compiles(
    typescript: Path,
    compile_files: CompileFiles,  # the fixture behind it has started V8
) -> None:
    hasty = ScriptCompiler(RuntimeSettings(), typescript, limit_s=4.0)
    started = time.monotonic()

    with pytest.raises(BundleFailed, match="takes too long"):
        compile_files({"main.ts": "const x = " + "+".join(['"abc"'] * 150_000)}, using=hasty)

    assert time.monotonic() - started < 8
    assert compile_files({"main.ts": "let a: 1"}, using=hasty).script
    hasty.close()


def test_given_more_re_exports_than_anybody_needs_when_compiled_then_refused_soon(compile_files: CompileFiles) -> None:
    stars = "\n".join(f"export * from './m{number}'" for number in range(60))
    names = "\n".join(f"export const n{number} = 1" for number in range(400))
    files = {
        f"m{number}.js": f"{stars}\nexport {{ x{number} }} from './m{number + 1 if number < 59 else 0}'"
        for number in range(60)
    }
    files["main.ts"] = "import './m0'\n" + names

    assert "re-export" in str(_refused(compile_files, files)) or "missing export" in str(_refused(compile_files, files))


def test_given_an_unchanged_project_when_compiled_again_then_it_is_the_same_and_nearly_free(
    compile_files: CompileFiles,
) -> None:
    files = {
        f"m{number}.ts": f"export const a{number}: number = {number}\n" * 1 + "// text\n" * 100 for number in range(100)
    }
    files["main.ts"] = "\n".join(f"import {{ a{number} }} from './m{number}'\na{number}" for number in range(100))
    started = time.monotonic()
    first = compile_files(files)
    first_s = time.monotonic() - started

    started = time.monotonic()
    assert compile_files(files) == first
    assert time.monotonic() - started < max(first_s / 2, 0.05)
