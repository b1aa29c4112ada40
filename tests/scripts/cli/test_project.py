"""Which files a project has, and where it begins."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flora.scripts.cli.errors import CliError
from flora.scripts.cli.ignore import parse_rules, verdict
from flora.scripts.cli.project import find_project, read_deploy_settings
from flora.scripts.cli.script_literal import NotLiteral, read_default_export
from flora.scripts.cli.sources import collect


def make(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("")
    return root


def paths_of(root: Path, entry: str = "main.ts") -> list[str]:
    return [source.path for source in collect(root, entry)]


def test_sources_have_known_endings_and_no_build_output_or_lock_files(tmp_path: Path) -> None:
    make(
        tmp_path, "main.ts", "a/b.tsx", "c.js", "d.jsx", "e.mjs", "f.cts", "package.json", "tsconfig.json", ".hidden.ts"
    )
    make(tmp_path, "g.mts", "h.cjs", "i.json", "README.md", "pnpm-lock.yaml", "bun.lockb", "node_modules/x/index.js")
    make(tmp_path, "dist/main.js", "a/.git/hook.js", "a/build/out.js")

    assert paths_of(tmp_path) == [
        ".hidden.ts",
        "a/b.tsx",
        "c.js",
        "d.jsx",
        "e.mjs",
        "f.cts",
        "main.ts",
        "package.json",
        "tsconfig.json",
    ]


def test_linked_folders_are_not_followed_and_only_files_are_read(tmp_path: Path) -> None:
    make(tmp_path, "project/main.ts", "elsewhere/secret.ts", "project/folder.ts/inner.txt")
    (tmp_path / "project" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "project" / "gone.ts").symlink_to(tmp_path / "nowhere")

    assert paths_of(tmp_path / "project") == ["main.ts"]


def test_the_entry_is_sent_even_if_it_is_ignored(tmp_path: Path) -> None:
    make(tmp_path, "main.ts", "other.ts")
    (tmp_path / ".gitignore").write_text("*.ts\n")

    assert paths_of(tmp_path) == ["main.ts"]


def test_a_byte_order_mark_is_no_part_of_a_source(tmp_path: Path) -> None:
    (tmp_path / "main.ts").write_bytes(b"\xef\xbb\xbflet a")

    assert collect(tmp_path, "main.ts")[0].contents == "let a"


def test_deeper_ignore_files_win_and_ignore_wins_over_gitignore(tmp_path: Path) -> None:
    make(tmp_path, "main.ts", "a.ts", "sub/a.ts", "sub/b.ts", "gone/a.ts", "kept/a.ts")
    (tmp_path / ".gitignore").write_text("a.ts\ngone/\nkept/\n")
    (tmp_path / ".ignore").write_text("!kept/\n")
    (tmp_path / "sub" / ".gitignore").write_text("!a.ts\nb.ts\n")
    (tmp_path / "gone" / ".gitignore").write_text("!a.ts\n")
    (tmp_path / "kept" / ".gitignore").write_text("!a.ts\n")

    assert paths_of(tmp_path) == ["kept/a.ts", "main.ts", "sub/a.ts"]


@pytest.mark.parametrize(
    ("pattern", "path", "is_folder", "expected"),
    [
        ("name/", "deep/name", True, True),  # not only beside the ignore file
        ("name/", "deep/name", False, None),
        ("/a.ts", "sub/a.ts", False, None),
        ("sub/a.ts", "x/sub/a.ts", False, None),
        ("**/a.ts", "x/y/a.ts", False, True),
        ("a/**/b.ts", "a/b.ts", False, True),
        ("a/*.ts", "a/b/c.ts", False, None),
        ("!a.ts", "a.ts", False, False),
        (r"\#a.ts", "#a.ts", False, True),
        ("a.ts  ", "a.ts", False, True),
        ("[[:digit:]]-[!b-z].ts", "7-a.ts", False, True),
        ("[", "[", False, None),
        ("a.ts\r", "a.ts", False, True),
        ("# a", "# a", False, None),
    ],
)
def test_patterns_mean_what_git_says(pattern: str, path: str, is_folder: bool, expected: bool | None) -> None:
    assert verdict(parse_rules(f"{pattern}\n"), path, is_folder=is_folder) is expected


SEGMENTS = st.sampled_from(
    ["a", "b", "ab", "*", "**", "a*", "?", "*.ts", "a.ts", "[ab].ts", "[!a].ts", "x y.ts", r"\#c.ts", "a**", "["]
)
PATTERNS = st.builds(
    lambda mark, root, segments, end: mark + root + "/".join(segments) + end,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "/"]),
    st.lists(SEGMENTS, min_size=1, max_size=3),
    st.sampled_from(["", "", "/"]),
)
IGNORE_FILES = st.lists(PATTERNS, max_size=4)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    folders = ["", "a/", "b/", "a/b/", "ab/a/b/"]
    make(root, *(f"{folder}{name}.ts" for folder in folders for name in ("a", "b", "ab", "x y", "#c")))
    if shutil.which("git"):
        subprocess.run(["git", "init", "-q", root], check=True)
    return root


@pytest.mark.skipif(shutil.which("git") is None, reason="compares with git")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(top=IGNORE_FILES, nested=IGNORE_FILES)
def test_for_any_patterns_the_same_files_are_left_as_git_leaves(repository: Path, top: Any, nested: Any) -> None:
    (repository / ".gitignore").write_text("\n".join(top))
    (repository / "a" / ".gitignore").write_text("\n".join(nested))
    git = ["git", "-C", str(repository), "ls-files", "-o", "--exclude-standard", "-z", "*.ts"]
    left = set(subprocess.run(git, capture_output=True, text=True, check=True).stdout.split("\0")) - {""}

    assert set(paths_of(repository, "a.ts")) == left | {"a.ts"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("flora.config.json", '{"deploy": {"entry": "bot.ts", "root": "src"}}'),
        ("flora.config.toml", '[deploy]\nentry = "bot.ts"\nroot = "src"\n'),
        (
            "flora.config.ts",
            'import { defineConfig } from "x"\nexport default defineConfig({deploy: {entry: "bot.ts", root: "src"}})',
        ),
        ("flora.config.mjs", "export default {\n  // a comment\n  'deploy': { entry: `bot.ts`, root: 'src', },\n}"),
        (
            "flora.config.cjs",
            "module.exports = { deploy: { entry: 'b\\x6ft.ts', root: 'src', list: [1, true, null] } };",
        ),
    ],
)
def test_every_kind_of_configuration_is_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)

    assert read_deploy_settings(tmp_path) == {"entry": "bot.ts", "root": "src"}


def test_without_configuration_the_defaults_hold(tmp_path: Path) -> None:
    make(tmp_path, "src/main.ts")

    assert find_project(None, None, tmp_path) == (tmp_path.resolve(), "src/main.ts")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("flora.config.ts", "export default { deploy: { entry: process.env.X } }", "line 1 has more than plain values"),
        ("flora.config.ts", "const a = 1", "has no default export"),
        ("flora.config.json", "{", "cannot be read"),
        ("flora.config.json", '{"deploy": []}', "must look like"),
        ("flora.config.toml", "[deploy]\nentry = 5", "deploy.entry must be a string"),
    ],
)
def test_configuration_that_cannot_be_known_is_explained(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)

    with pytest.raises(CliError, match=said):
        read_deploy_settings(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "export default {a: f(1)}",
        "export default {...x}",
        "export default `${x}`",
        "export default {a: 1",
        "export default " + "[" * 100,
        "export default config",
    ],
)
def test_whatever_would_have_to_run_is_no_literal(text: str) -> None:
    with pytest.raises(NotLiteral):
        read_default_export(text)
