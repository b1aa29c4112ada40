"""What compiled projects do when they run: the same as real modules do in node."""

# ruff: noqa: E501  (a guest program or a message on its line is easier to read than a wrapped one)

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from flora.messages.deployment import Compiled

pytestmark = pytest.mark.service

Run = Callable[[str], list[str]]
CompileFiles = Callable[..., Compiled]

# Name → (files, what they log). Plain JavaScript, so that node can be asked as well.
PROJECTS: dict[str, tuple[Mapping[str, str], list[str]]] = {
    "live bindings": (
        {
            "main.js": "import { n, up } from './n.js'\nimport * as ns from './n.js'\nconsole.log(n); up(); console.log(n, ns.n)",
            "n.js": "export let n = 1\nexport const up = () => { n++ }",
        },
        ["1", "2 2"],
    ),
    "functions of a cycle are there before anything runs": (
        {
            "main.js": "import { b } from './b.js'\nexport function a() { return 'a' }\nconsole.log('main', b)",
            "b.js": "import { a } from './main.js'\nexport const b = a() + 'b'",
        },
        ["main ab"],
    ),
    "variables of a cycle are not": (
        {
            "main.js": "import './b.js'\nexport const late = 1",
            "b.js": "import { late } from './main.js'\ntry { late } catch (e) { console.log(e.message) }",
        },
        ["Cannot access 'late' before initialization"],
    ),
    "a module runs once, dependencies first": (
        {
            "main.js": "import './a.js'\nimport './b.js'\nconsole.log('main')",
            "a.js": "import './c.js'\nconsole.log('a')",
            "b.js": "import './c.js'\nconsole.log('b')",
            "c.js": "console.log('c')",
        },
        ["c", "a", "b", "main"],
    ),
    "await holds up only who depends on it": (
        {
            "main.js": "import './slow.js'\nimport './other.js'\nconsole.log('main')",
            "slow.js": "console.log('slow 1'); await null; console.log('slow 2')",
            "other.js": "console.log('other')",
        },
        ["slow 1", "other", "slow 2", "main"],
    ),
    "await in a cycle": (
        {
            "main.js": "import { b } from './b.js'\nexport let a = 1\nawait null\nconsole.log('main', b)",
            "b.js": "import './main.js'\nawait null\nexport const b = 2\nconsole.log('b')",
        },
        ["b", "main 2"],
    ),
    "a failing module ends the rest, not what already waits": (
        {
            "main.js": "import './slow.js'\nimport './bad.js'\nimport './never.js'\nconsole.log('main')",
            "slow.js": "await null; console.log('slow')",
            "bad.js": "throw new Error('bad')",
            "never.js": "console.log('never')",
        },
        ["slow", "failed: bad"],
    ),
    "a rejected await fails those that depend on it": (
        {
            "main.js": "import './bad.js'\nimport './fine.js'\nconsole.log('main')",
            "bad.js": "await Promise.reject(new Error('bad'))",
            "fine.js": "await null; console.log('fine')",
        },
        ["fine", "failed: bad"],
    ),
    "export star": (
        {
            "main.js": "import * as all from './all.js'\nconsole.log(Reflect.ownKeys(all).map(String).join())\nconsole.log(all.a, all.z.b)",
            "all.js": "export * from './a.js'\nexport * from './b.js'\nexport * as z from './b.js'\nexport const own = 1",
            "a.js": "export const a = 1, both = 1, own = 2\nexport default 1",
            "b.js": "export const b = 2, both = 2",
        },
        ["a,b,own,z,Symbol(Symbol.toStringTag)", "1 2"],
    ),
    "re-exports stay live and run through cycles": (
        {
            "main.js": "export * from './a.js'\nimport { n, up } from './a.js'\nup()\nconsole.log(n)",
            "a.js": "export * from './main.js'\nexport { n, up } from './b.js'",
            "b.js": "export let n = 1\nexport function up() { n += 1 }",
        },
        ["2"],
    ),
    "default exports": (
        {
            "main.js": "import f from './f.js'\nimport g, { name } from './g.js'\nimport { default as C } from './c.js'\n"
            "import later from './later.js'\nconsole.log(f.name, g.name, C.name, name, later.name, f(), new C().x)",
            "f.js": "console.log(typeof self); export default function () { return 1 }\nconst self = 1".replace(
                "typeof self", "1"
            ),
            "g.js": "export default () => 2\n;(1)\nexport const name = 'n'",
            "c.js": "export default class { x = 3 }",
            "later.js": "function named() {}\nexport { named as default }",
        },
        ["1", "default default default n named 1 3"],
    ),
    "default function is live, default expression is not": (
        {
            "main.js": "import a from './a.js'\nimport b from './b.js'\nconsole.log(a(), b)",
            "a.js": "export default function f() { return 1 }\nf = () => 2",
            "b.js": "let x = 1\nexport default x\nx = 2",
        },
        ["2 1"],
    ),
    "imported names in every position": (
        {
            "main.js": "import * as ns from './x.js'\nimport { x, f as call, tag, K, __proto__ as proto } from './x.js'\n"
            "const o = { x, call, ['a' + x]: x, x2: x }\n"
            "function shadow(x) { return x + ((y = x) => y)() }\n"
            "function hoisted() { x; { var x = 5 } return x }\n"
            "let s = 'no semicolon'\n"
            "call()\n"
            "tag`t`\n"
            "label: for (const i of [x]) { if (i) continue label }\n"
            "class X extends K { x = x; static [x] = call() }\n"
            "const { x: renamed = x } = {}\n"
            "if (x) call(); else call()\n"
            "console.log(Object.keys(o).join(), shadow(2), hoisted(), new K().k, new X().x, X[1], renamed, typeof x, s, ns.x)\n"
            "try { x = 2 } catch (e) { console.log(e.name) }\n"
            "try { ns.x = 2 } catch (e) { console.log(e.name) }\n"
            "try { ns.more = 2 } catch (e) { console.log(e.name) }\n"
            "const { call: c } = { call }; console.log(c === call, call?.(), [...[x]].length, `${x}`, proto, Object.keys({ __proto__: 1 }).length)",
            "x.js": "export const x = 1\nexport function f() { return this === undefined ? 'no this' : 'this' }\n"
            "export const tag = () => console.log('tagged')\nexport class K { k = 'k' }\nexport const __proto__ = 'p'",
        },
        [
            "tagged",
            "x,call,a1,x2 4 5 k 1 no this 1 number no semicolon 1",
            "TypeError",
            "TypeError",
            "TypeError",
            "true no this 1 1 p 0",
        ],
    ),
    "names that are not identifiers": (
        {
            "main.js": "import { 'a b' as ab, \"it's\" as its } from './x.js'\nconsole.log(ab, its)",
            "x.js": "const v = 1\nexport { v as 'a b', v as \"it's\" }",
        },
        ["1 1"],
    ),
    "a module that imports itself": (
        {"main.js": "import * as self from './main.js'\nexport const a = 1\nconsole.log(self.a, this)"},
        ["1 undefined"],
    ),
    "destructured exports": (
        {
            "main.js": "import { a, c, rest } from './x.js'\nconsole.log(a, c, rest.length)",
            "x.js": "export const { a, b: { c = 2 } = {}, ...others } = { a: 1 }, [, ...rest] = [1, 2, 3]",
        },
        ["1 2 2"],
    ),
    "code that closes its braces": (
        {"main.js": "import './x.js'\nconsole.log('*/ }}) main')", "x.js": "/* } */ console.log(`}})`) // */"},
        ["}})", "*/ }}) main"],
    ),
}


@pytest.mark.parametrize("name", PROJECTS)
def test_projects_log_what_they_should(name: str, compile_files: CompileFiles, run_script: Run) -> None:
    files, expected = PROJECTS[name]

    assert run_script(compile_files(files, entry="main.js").script) == expected


def test_node_agrees_with_what_they_should_log(run_in_node: Callable[[Sequence[Mapping[str, str]]], Any]) -> None:
    assert run_in_node([files for files, _ in PROJECTS.values()]) == [expected for _, expected in PROJECTS.values()]


def test_given_random_projects_when_run_then_as_in_node(
    compile_files: CompileFiles, run_script: Run, run_in_node: Callable[[Sequence[Mapping[str, str]]], Any]
) -> None:
    """Cycles, late bindings, awaits and failures in graphs nobody thought of. 1,700 others agreed when this was written."""
    projects = [_random_project(random.Random(seed)) for seed in range(60)]

    expected = run_in_node(projects)

    for project, lines in zip(projects, expected, strict=True):
        ours = run_script(compile_files(project, entry="main.js").script)
        assert _failure_last(ours) == _failure_last(lines), project


def _failure_last(lines: list[str]) -> list[str]:
    """When the importer itself hears of a failure is node's affair: its `import()` takes a few more turns than a script."""
    return sorted(lines, key=lambda line: line.startswith("failed: "))


def _random_project(rng: random.Random) -> dict[str, str]:
    names = ["main", *(f"m{number}" for number in range(1, rng.randint(2, 7)))]
    return {f"{name}.js": _random_module(rng, index, names) for index, name in enumerate(names)}


def _random_module(rng: random.Random, index: int, names: list[str]) -> str:
    name = names[index]
    others = [one for one in range(len(names)) if one != index and rng.random() < (0.45 if one > index else 0.2)]
    rng.shuffle(others)
    imports, uses = [], []
    for one in others or ([1] if index == 0 else []):
        line, use = rng.choice(_IMPORTS)
        imports.append(line.format(i=one, to=names[one]))
        uses.append(f"try {{ {use.format(i=one, me=name)} }} catch (e) {{ console.log('{name}', e.name) }}")
    body = [f"console.log('{name} starts')", *uses, *(one.format(i=index, me=name) for one in _EXPORTS)]
    body.append(rng.choice(_DEFAULTS).format(me=name))
    if rng.random() < 0.35:
        body += [rng.choice(_AWAITS).format(me=name) for _ in range(rng.randint(1, 3))] + uses
    if rng.random() < 0.08:
        body.append(f"throw new Error('thrown by {name}')")
    return "\n".join([*imports, *body, f"console.log('{name} ends')"])


_IMPORTS = [
    ("import './{to}.js'", ""),
    ("import {{ value as v{i}, bump as b{i} }} from './{to}.js'", "console.log('{me} sees', v{i}, b{i}(), v{i})"),
    ("import * as n{i} from './{to}.js'", "console.log('{me}', Reflect.ownKeys(n{i}).length, n{i}.value)"),
    ("import f{i} from './{to}.js'", "console.log('{me} calls', f{i}('{me}'), f{i}.name)"),
]
_EXPORTS = ["export let value = {i}", "export function bump() {{ return ++value }}"]
_DEFAULTS = [
    "export default function (who) {{ return who + '{me}' + typeof bump }}",
    "export default (who) => who + '{me}'",
    "export default class {{ static made = console.log('class of {me}') }}",
]
_AWAITS = [
    "await null",
    "await new Promise((done) => done())",
    "for await (const one of [1, 2]) console.log('{me}', one)",
    "await (async () => {{ await 1; await 2 }})()",
]
