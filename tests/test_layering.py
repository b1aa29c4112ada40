"""Imports point one way: messages ← storage ← actors; http reaches actors by messages only; scripts may use all."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

MAY_IMPORT = {
    "messages": {"messages"},
    "storage": {"messages", "storage"},
    "actors": {"messages", "storage", "actors", "http"},
    "http": {"messages", "storage", "http"},
    "scripts": {"messages", "storage", "actors", "http", "scripts"},
}

# The one actor that serves HTTP is where the two meet; no other actor knows of it.
MEETING_POINT = "actors/http_frontend.py"


def layer_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "flora" and len(parts) > 1 else None


def imported_layers(source: str) -> set[str]:
    """Top-level folders of ours that a module imports from, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {layer_of(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "flora" else [node.module]
            found |= {layer_of(module) for module in whole}
    return {layer for layer in found if layer}


def modules_of(folder: str) -> Iterator[Path]:
    return (path for path in sorted((ROOT / folder).rglob("*.py")) if "node_modules" not in path.parts)


@pytest.mark.parametrize("layer", sorted(MAY_IMPORT))
def test_given_a_layer_when_its_imports_are_read_then_none_points_the_wrong_way(layer: str) -> None:
    wrong = []
    for path in modules_of(layer):
        name = path.relative_to(ROOT).as_posix()
        allowed = MAY_IMPORT[layer] - ({"http"} if layer == "actors" and name != MEETING_POINT else set())
        wrong += [f"{name} → {used}" for used in sorted(imported_layers(path.read_text(encoding="utf-8")) - allowed)]

    assert wrong == []


@pytest.mark.parametrize("layer", sorted(MAY_IMPORT))
def test_given_our_modules_when_they_import_each_other_then_by_the_one_name_that_every_process_knows(
    layer: str,
) -> None:
    relative = [
        str(path.relative_to(ROOT))
        for path in modules_of(layer)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.level > 0 or (node.module or "").split(".")[0] in MAY_IMPORT)
        if node.module is None or node.module.split(".")[0] != "http"  # the standard library's
    ]

    assert relative == []


def test_given_the_ways_to_write_an_import_when_read_then_each_is_seen() -> None:
    source = (
        "import flora.http.app\ndef f():\n    from flora import scripts\n    from flora.actors.base import FloraActor\n"
    )

    assert imported_layers(source) == {"http", "scripts", "actors"}


@pytest.mark.parametrize("folder", ["http", "tests"])
def test_given_folders_named_like_standard_modules_when_on_the_path_then_they_shadow_nothing(folder: str) -> None:
    if folder == "tests":
        assert list((ROOT / folder).rglob("__init__.py")) == []
    else:
        assert not (ROOT / folder / "__init__.py").exists()
