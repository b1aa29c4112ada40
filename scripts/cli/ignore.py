"""`.gitignore` and `.ignore`, with git's meaning.

The last pattern that matches decides; a deeper file wins over a higher one, and in one folder `.ignore` over
`.gitignore`. What lies in an ignored folder cannot be brought back, since the folder is never entered. So a pattern is
only ever compared with one path itself, not with the folders above it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

IGNORE_FILES = (".gitignore", ".ignore")

_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": r" \t",
    "digit": "0-9",
    "lower": "a-z",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\s",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
}


class Rule(NamedTuple):
    """One line of an ignore file."""

    pattern: re.Pattern[str]
    ignores: bool  # False: brings back
    folders_only: bool
    anywhere: bool  # True: compared with the last part of the path, in every folder below


class _Unmatchable(Exception):
    """The pattern is malformed; git lets it match nothing."""


def parse_rules(text: str) -> list[Rule]:
    """The rules of an ignore file; comments, blank lines and malformed patterns are passed over."""
    return [rule for line in text.removeprefix("\ufeff").split("\n") if (rule := _parse(line)) is not None]


def verdict(rules: Sequence[Rule], path: str, *, is_folder: bool) -> bool | None:
    """What the rules of one folder say of a path below it: ignore, keep, or nothing."""
    name = path.rpartition("/")[2]
    for rule in reversed(rules):
        if (is_folder or not rule.folders_only) and rule.pattern.fullmatch(name if rule.anywhere else path):
            return rule.ignores
    return None


class IgnoreRules:
    """The rules that hold in one folder: its own and those of the folders above it."""

    def __init__(self, levels: tuple[tuple[int, list[Rule]], ...] = ()) -> None:
        self._levels = levels  # (length of the path prefix that the rules are relative to, rules), highest folder first

    def entering(self, folder: Path, prefix: str) -> IgnoreRules:
        """The rules inside `folder`, whose path below the root is `prefix` (empty, or ending in a slash)."""
        found = [(len(prefix), rules) for name in IGNORE_FILES if (rules := _read(folder / name))]
        return IgnoreRules((*self._levels, *found)) if found else self

    def ignore(self, path: str, *, is_folder: bool) -> bool:
        """Whether a path below the root is ignored, the folders above it not being ignored."""
        for prefix_length, rules in reversed(self._levels):
            said = verdict(rules, path[prefix_length:], is_folder=is_folder)
            if said is not None:
                return said
        return False


def _read(file: Path) -> list[Rule]:
    try:
        return parse_rules(file.read_text(encoding="utf-8", errors="surrogateescape"))
    except (FileNotFoundError, IsADirectoryError):
        return []


def _parse(line: str) -> Rule | None:
    line = line.removesuffix("\r")
    if line.startswith("#"):
        return None
    text = re.sub(r"(?<!\\) +$", "", line)
    ignores = not text.startswith("!")
    text = text.removeprefix("!")
    folders_only = text.endswith("/")
    text = text.removesuffix("/")
    if not text:
        return None
    try:
        pattern = re.compile(_expression(text.removeprefix("/")), re.DOTALL)
    except (_Unmatchable, re.error):
        return None
    return Rule(pattern, ignores, folders_only, anywhere="/" not in text)


def _expression(glob: str) -> str:
    """A regular expression for a glob: only `**` between slashes crosses folders."""
    out: list[str] = []
    at = 0
    while at < len(glob):
        match glob[at]:
            case "*":
                at = _stars(glob, at, out)
            case "?":
                out.append("[^/]")
                at += 1
            case "[":
                at = _bracket(glob, at + 1, out)
            case "\\":
                if at + 1 == len(glob):
                    raise _Unmatchable
                out.append(re.escape(glob[at + 1]))
                at += 2
            case character:
                out.append(re.escape(character))
                at += 1
    return "".join(out)


def _stars(glob: str, at: int, out: list[str]) -> int:
    end = at
    while glob[end : end + 1] == "*":
        end += 1
    # git compares the plain text before the first special character separately, so that stars right after it count as
    # being at the beginning: `gen**/x` crosses folders.
    begins = not re.search(r"[*?\[\\]", glob[:at]) or glob[at - 1] == "/"
    alone = end - at > 1 and begins and glob[end : end + 1] in {"", "/"}
    if not alone:
        out.append("[^/]*")
        return end
    if end == len(glob):
        out.append(".*")
        return end
    out.append("(?:.*/)?")
    return end + 1


def _bracket(glob: str, at: int, out: list[str]) -> int:
    """A set such as `[a-z]`, `[!a]`, `[[:digit:]]`; a closing bracket that comes first is one of its characters."""
    negated = glob[at : at + 1] in {"!", "^"}
    at += negated
    members: list[str] = []
    first = True
    while first or glob[at : at + 1] != "]":
        first = False
        if named := re.compile(r"\[:(\w*):\]").match(glob, at):
            if named[1] not in _CLASSES:
                raise _Unmatchable
            members.append(_CLASSES[named[1]])
            at = named.end()
            continue
        low, at = _member(glob, at)
        if glob[at : at + 1] == "-" and glob[at + 1 : at + 2] not in {"", "]"}:
            high, at = _member(glob, at + 1)
            if low <= high:
                members.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            members.append(re.escape(low))
    if not members:
        out.append("[^/]" if negated else "(?!)")
    else:
        out.append(f"(?!/)[{'^' if negated else ''}{''.join(members)}]")
    return at + 1


def _member(glob: str, at: int) -> tuple[str, int]:
    at += glob[at : at + 1] == "\\"
    if at >= len(glob):
        raise _Unmatchable
    return glob[at], at + 1
