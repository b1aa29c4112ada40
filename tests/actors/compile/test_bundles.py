"""Ready-made bundles: used as they are where that is right, and otherwise with as little change as possible."""

# ruff: noqa: E501  (a guest program or a message on its line is easier to read than a wrapped one)

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest

from flora.actors.isolate.error_text import ErrorText
from flora.actors.isolate.source_map import encode_vlq
from flora.messages.deployment import Compiled
from flora.messages.errors import LoadFailed

pytestmark = pytest.mark.service

Run = Callable[[str], list[str]]
CompileBundle = Callable[..., Compiled]

MAP = json.dumps({"version": 3, "sources": ["../src/main.ts"], "names": [], "mappings": "AAAA,QAAQ;AACA;AACA"})

PLAIN = [
    "console.log(1)",
    "const s = 'import x from y', t = `export default ${1}`, r = /export {/, c = 1 // export default 1\nconsole.log(c)",
    "/* import 'x' */ const exported = { import: 1, export: 2 }; console.log(exported.import)",
    "await null; console.log(1)",
    "console.log(1) //",
]


@pytest.mark.parametrize("bundle", PLAIN)
def test_given_a_plain_bundle_when_compiled_then_it_is_untouched(
    bundle: str, compile_bundle: CompileBundle, run_script: Run
) -> None:
    assert compile_bundle(bundle, MAP) == Compiled(script=bundle, source_map=MAP)
    assert run_script(bundle) == ["1"]


@pytest.mark.parametrize(
    "bundle",
    [
        "const a = 1; console.log(a); export { a };\n",
        "const a = 1; console.log(a)\nexport {\n  a as b,\n  a\n}",
        "export const a = 1; console.log(a)",
        "export default 1\n;console.log(1)",
        "export default () => {}\n(console.log(1))",
        "export default function () {}\nconsole.log(1)",
        "export default class {}\nconsole.log(1); export {}",
        "export default async function named() {}\nconsole.log(typeof named === 'function' ? 1 : 2)",
        "import { console as log } from '@uwu/flora-sdk'; log.log(1)",
        "import '@uwu/flora-sdk'\nconsole.log(1)",
        "console.log(import.meta.url === 'file:///guild/42/bundle.js' ? 1 : import.meta.url)",
        "const a = `export { x };`; console.log(1); export { a }",
    ],
)
def test_given_a_bundle_in_module_form_when_compiled_then_it_runs_the_same(
    bundle: str, compile_bundle: CompileBundle, run_script: Run
) -> None:
    assert run_script(compile_bundle(bundle).script) == ["1"]


def test_given_a_module_bundle_when_compiled_then_lines_and_columns_stay(compile_bundle: CompileBundle) -> None:
    bundle = "export const a = 1;\nexport function f() { null.x }\nexport default f\nexport { a as b }\nf()\n"

    lines = compile_bundle(bundle).script.split("\n")

    assert lines[1].index("null.x") == bundle.split("\n")[1].index("null.x")
    assert lines[4] == "f()"


def test_given_a_map_when_the_bundle_changes_then_the_map_follows(
    compile_bundle: CompileBundle, stack_of: Callable[[str], str]
) -> None:
    bundle = "import { console as c } from '@uwu/flora-sdk'\nc.log(1); const d = c; throw new Error(d)"
    column = bundle.split("\n")[1].index("throw")
    source_map = json.dumps(
        {"version": 3, "sources": ["src/main.ts"], "names": [], "mappings": f"AAAA;AAkBA,{_segment(column)}"}
    )

    compiled = compile_bundle(bundle, source_map)

    assert "    at src/main.ts:20:1\n" in ErrorText.of("42", compiled.source_map).render(stack_of(compiled.script))


def _segment(column: int) -> str:
    return encode_vlq((column, 0, 1, 0))


def test_given_an_inline_map_when_compiled_then_it_is_taken_out(compile_bundle: CompileBundle) -> None:
    inline = (
        "//# sourceMappingURL=data:application/json;charset=utf-8;base64," + base64.b64encode(MAP.encode()).decode()
    )

    assert compile_bundle(f"console.log(1)\n{inline}\n") == Compiled(script="console.log(1)", source_map=MAP)
    assert compile_bundle(f"console.log(1)\n{inline}", '{"version":3}').source_map == '{"version":3}'
    assert compile_bundle("console.log(1)\n//# sourceMappingURL=x.map").script.endswith("x.map")


def test_given_what_was_made_here_when_compiled_again_then_nothing_changes(
    compile_files: CompileBundle, compile_bundle: CompileBundle
) -> None:
    made = compile_files(
        {"main.ts": "import './b'\nexport const a: number = await 1", "b.ts": "console.log(import.meta.url)"}
    )

    assert compile_bundle(made.script, made.source_map) == made


@pytest.mark.parametrize(
    ("bundle", "message", "line", "column"),
    [
        ("let a = 1;\nlet b = ;", "SyntaxError: Unexpected token ';' (bundle.js:2:9)", 2, 9),
        ("let a: number = 1", "SyntaxError: Missing initializer in const declaration", 1, None),
        ("export const a: number = 1", "error TS8010: Type annotations can only be used in TypeScript files. (bundle.js:1:17)", 1, 17),
        ("import x from './x'; x()", "unsupported import: ./x (bundle.js:1:15); only files of the project (./ and ../) can be imported", 1, 15),
        ("export const a = 1; const a = 2", "SyntaxError: Identifier 'a' has already been declared (bundle.js:1:27)", 1, 27),
        ("}); console.log(1); (async () => {", "SyntaxError: Unexpected token ')' (bundle.js:1:2)", 1, 2),
        ("}, console.log(1), async () => {", "SyntaxError: Unexpected token ',' (bundle.js:1:2)", 1, 2),
        ("}\nfunction x() {", "SyntaxError: Unexpected token 'function' (bundle.js:2:1)", 2, 1),
        ("} /*", "", 1, None),
        ("`", "SyntaxError: Unterminated template literal", 1, None),
    ],
)  # fmt: skip
def test_given_a_bundle_that_does_not_parse_when_compiled_then_its_place_is_named(
    bundle: str, message: str, line: int, column: int | None, compile_bundle: CompileBundle
) -> None:
    with pytest.raises(LoadFailed) as caught:
        compile_bundle(bundle)

    if column is not None:
        assert str(caught.value) == message
        assert caught.value.details == {"file": "bundle.js", "line": line, "column": column}
    assert caught.value.details["file"] == "bundle.js"


def test_given_a_map_when_the_bundle_does_not_parse_then_the_authors_place_is_named(
    compile_bundle: CompileBundle,
) -> None:
    with pytest.raises(LoadFailed) as caught:
        compile_bundle("let a = 1\nlet b = ;", MAP)

    assert str(caught.value) == "SyntaxError: Unexpected token ';' (src/main.ts:2:9)"


def test_given_a_map_that_is_junk_when_compiled_then_refused(compile_bundle: CompileBundle) -> None:
    with pytest.raises(LoadFailed, match=r"^invalid source map JSON: "):
        compile_bundle("console.log(1)", "{")


def test_given_half_a_surrogate_pair_when_compiled_then_refused(compile_bundle: CompileBundle) -> None:
    with pytest.raises(LoadFailed, match="not valid Unicode"):
        compile_bundle("let a = '\ud800'")


def test_given_eight_megabytes_with_exports_at_the_end_when_compiled_then_only_those_change(
    compile_bundle: CompileBundle,
) -> None:
    functions = "".join(f"const f{number} = () => {{ {'var a = 1; a += 2; ' * 12}}};\n" for number in range(30_000))
    bundle = f"{functions}export {{ f1, f2 as default }};\n"
    assert len(bundle) > 7_500_000

    assert compile_bundle(bundle).script == functions + " " * (len(bundle) - len(functions) - 1) + "\n"
