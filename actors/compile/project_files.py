"""Which files a project has, and which of them an import means. A project is a mapping from path to text, no folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flora.actors.compile.model import kind_of
from flora.messages.deployment import SourceFile
from flora.messages.errors import BundleFailed

_EXTENSIONS = (".ts", ".tsx", ".js", ".jsx", ".mjs", ".cts", ".mts", ".cjs", ".json")
_SOURCE_OF = {".js": (".ts", ".tsx"), ".jsx": (".tsx",), ".mjs": (".mts",), ".cjs": (".cts",)}
"""TypeScript lets an author write the name of the output; this is what it stands for."""


def normalize(path: str) -> str | None:
    """A relative path without `.` and `..`. None: empty, absolute, or it leaves the project."""
    if path.startswith("/") or "\0" in path or printable(path) != path:
        return None
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts) or None


def project_files(files: Iterable[SourceFile], max_files: int, max_total_bytes: int) -> dict[str, str]:
    """The project as normalised path → contents.

    Raises:
        BundleFailed: Too many, too large, a path that is not inside the project, or two files with one path.
    """
    project: dict[str, str] = {}
    total_bytes = 0
    for number, file in enumerate(files, start=1):
        if number > max_files:
            raise BundleFailed(f"invalid file path: too many files (max {max_files})")
        path = normalize(file.path)
        if path is None:
            raise BundleFailed(f"invalid file path: {printable(file.path)}", file=printable(file.path))
        if path in project:
            raise BundleFailed(f"invalid file path: duplicate file path: {path}", file=path)
        total_bytes += _size_bytes(path, file.contents)
        if total_bytes > max_total_bytes:
            raise BundleFailed(f"invalid file path: bundle exceeds size limit (max {max_total_bytes} bytes)")
        project[path] = file.contents
    return project


def printable(text: str) -> str:
    """The text with halves of surrogate pairs escaped, which no encoder takes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _size_bytes(path: str, contents: str) -> int:
    try:
        return len(contents.encode())
    except UnicodeEncodeError as exc:
        raise BundleFailed(f"failed to parse {path}: the text is not valid Unicode", file=path) from exc


def is_relative(specifier: str) -> bool:
    """Whether an import names a file of the project."""
    return specifier in (".", "..") or specifier.startswith(("./", "../"))


def resolve(project: Mapping[str, str], importer: str, specifier: str) -> str | None:
    """The file a relative import means, or None.

    In this order: the exact path, `x.js` as the `x.ts` it is made from, the path with each extension, the index file of
    a folder.
    """
    folder = importer.rpartition("/")[0]
    joined = f"{folder}/{specifier}" if folder else specifier
    path = normalize(joined)
    if path is None:
        return _index(project, "") if _names_root(joined) else None
    if not specifier.endswith(("/", "/.", "/..")) and specifier not in (".", ".."):
        for candidate in _candidates(path):
            if candidate in project and kind_of(candidate):
                return candidate
    return _index(project, path + "/")


def _names_root(joined: str) -> bool:
    return normalize(joined + "/x") == "x"


def _candidates(path: str) -> Iterable[str]:
    yield path
    stem, dot, extension = path.rpartition(".")
    for source in _SOURCE_OF.get(dot + extension, ()):
        yield stem + source
    for extension in _EXTENSIONS:
        yield path + extension


def _index(project: Mapping[str, str], folder: str) -> str | None:
    return next((one for one in (f"{folder}index{extension}" for extension in _EXTENSIONS) if one in project), None)
