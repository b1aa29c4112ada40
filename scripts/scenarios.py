"""Which behaviour scenarios have tests: reads the `scenario` markers in tests/ and the ids in tests/scenarios.txt."""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "tests"


def main(argv: list[str]) -> int:
    covered = scenarios_with_tests(TESTS)
    known = (TESTS / "scenarios.txt").read_text(encoding="utf-8").split()
    wanted = argv or known
    for scenario in sorted({*wanted, *(covered if not argv else ())}, key=in_order):
        tests = covered.get(scenario, [])
        note = "" if scenario in known else "  (not in tests/scenarios.txt)"
        print(f"{scenario:5} {len(tests):3} {tests[0] if tests else '-'}{note}")
    without = [scenario for scenario in wanted if scenario not in covered]
    print(f"{len(wanted) - len(without)} of {len(wanted)} scenarios have tests", file=sys.stderr)
    return 1 if argv and without else 0


def scenarios_with_tests(folder: Path) -> Mapping[str, list[str]]:
    """Scenario id → `file::function` of its tests."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        whole_file = [scenario for node in tree.body if isinstance(node, ast.Assign) for scenario in marks_in(node)]
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
                own = [scenario for decorator in node.decorator_list for scenario in marks_in(decorator)]
                for scenario in dict.fromkeys(own + whole_file):
                    found[scenario].append(f"{path.relative_to(folder.parent)}::{node.name}")
    return found


def marks_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "scenario":
            yield from (str(argument.value) for argument in node.args if isinstance(argument, ast.Constant))


def in_order(scenario: str) -> tuple[str, int, str]:
    match = re.fullmatch(r"(\D*)(\d+)(.*)", scenario)
    return (match[1], int(match[2]), match[3]) if match else (scenario, 0, "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
