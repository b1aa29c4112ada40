"""Paths and resolution: no isolate needed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.actors.compile.project_files import is_relative, normalize, project_files, resolve
from flora.messages.deployment import SourceFile
from flora.messages.errors import BundleFailed

PROJECT = dict.fromkeys(
    [
        "main.ts",
        "src/a.ts",
        "src/b.tsx",
        "src/c.js",
        "src/both.ts",
        "src/both.js",
        "src/m.mts",
        "src/old.cts",
        "src/data.json",
        "src/dotted.config.ts",
        "src/dir/index.ts",
        "src/style.css",
        "index.js",
    ],
    "",
)


def _files(*paths: str, contents: str = "") -> list[SourceFile]:
    return [SourceFile(path=path, contents=contents) for path in paths]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("src/main.ts", "src/main.ts"),
        ("./src//a/../main.ts", "src/main.ts"),
        ("a\nb.ts", "a\nb.ts"),
        ("/etc/passwd", None),
        ("../x.ts", None),
        ("a/../../x.ts", None),
        ("", None),
        (".", None),
        ("a\0.ts", None),
        ("\ud800.ts", None),
    ],
)
def test_paths_are_normalised_or_refused(path: str, expected: str | None) -> None:
    assert normalize(path) == expected


@given(st.text(alphabet="ab./\\", max_size=20))
def test_given_any_path_when_normalised_then_it_stays_inside_and_is_stable(path: str) -> None:
    normal = normalize(path)

    assert normal is None or (normalize(normal) == normal and not {"", ".", ".."} & set(normal.split("/")))


@pytest.mark.parametrize(
    ("specifier", "expected"),
    [
        ("./a", "src/a.ts"),
        ("./a.ts", "src/a.ts"),
        ("./a.js", "src/a.ts"),
        ("./b.jsx", "src/b.tsx"),
        ("./c", "src/c.js"),
        ("./both.js", "src/both.js"),
        ("./both", "src/both.ts"),
        ("./m", "src/m.mts"),
        ("./m.mjs", "src/m.mts"),
        ("./old.cjs", "src/old.cts"),
        ("./data.json", "src/data.json"),
        ("./data", "src/data.json"),
        ("./dotted.config", "src/dotted.config.ts"),
        ("./dir", "src/dir/index.ts"),
        ("./dir/", "src/dir/index.ts"),
        ("../main", "main.ts"),
        ("..", "index.js"),
        ("../", "index.js"),
        ("./../src/./a", "src/a.ts"),
        ("./style.css", None),
        ("./nope", None),
        ("./a/", None),
        ("../../main", None),
        ("./A", None),
    ],
)
def test_imports_find_their_file(specifier: str, expected: str | None) -> None:
    assert resolve(PROJECT, "src/main.ts", specifier) == expected


def test_given_a_folder_when_imported_then_its_index_file_is_meant() -> None:
    assert resolve({"src/dir/index.ts": ""}, "src/main.ts", "./dir") == "src/dir/index.ts"
    assert resolve({"dir/index.mjs": ""}, "main.ts", "./dir") == "dir/index.mjs"


@pytest.mark.parametrize(
    ("specifier", "expected"), [("./a", True), ("..", True), (".", True), ("a", False), ("/a", False), (".a", False)]
)
def test_only_dots_name_files_of_the_project(specifier: str, expected: bool) -> None:
    assert is_relative(specifier) is expected


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (_files("a.ts", "./a.ts"), "invalid file path: duplicate file path: a.ts"),
        (_files("/a.ts"), "invalid file path: /a.ts"),
        (_files("../a.ts"), "invalid file path: ../a.ts"),
        (_files("a.ts", "b.ts", "c.ts", "d.ts"), "invalid file path: too many files (max 3)"),
        (_files("a.ts", contents="é" * 51), "invalid file path: bundle exceeds size limit (max 100 bytes)"),
        (_files("a.ts", contents="\ud800"), "failed to parse a.ts: the text is not valid Unicode"),
    ],
)
def test_projects_outside_the_limits_are_refused(files: list[SourceFile], message: str) -> None:
    with pytest.raises(BundleFailed) as caught:
        project_files(files, max_files=3, max_total_bytes=100)

    assert str(caught.value) == message


def test_given_a_project_at_its_limits_when_read_then_taken() -> None:
    files = _files("__proto__.ts", "constructor.ts", contents="x" * 50)

    assert list(project_files(files, max_files=2, max_total_bytes=100)) == ["__proto__.ts", "constructor.ts"]
