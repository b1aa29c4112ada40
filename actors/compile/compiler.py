"""The whole way from a `Compile` request to a `Compiled` script. Blocking; one caller at a time.

A failure of the isolate that may have spoiled it makes the next request start a new one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

from flora.actors.compile.graph import build_graph
from flora.actors.compile.isolates import (
    CompilationEnded,
    SourceRejected,
    SyntaxFault,
    TypeScriptIsolate,
    check_syntax,
    typescript_path,
)
from flora.actors.compile.linker import link
from flora.actors.compile.model import Module, kind_of
from flora.actors.compile.project_files import is_relative, normalize, printable, project_files, resolve
from flora.actors.isolate.source_map import (
    InvalidSourceMap,
    SourceMap,
    SourcePosition,
    relative_source,
    shift_mappings,
)
from flora.messages.deployment import Compile, Compiled, SourceFile
from flora.messages.errors import BundleFailed, LoadFailed
from flora.messages.settings import RuntimeSettings

COMPILE_LIMIT_S = 30.0  # for one project; 200 files take 2–4 s
CACHE_CHARS = 48_000_000  # rewritten modules kept, least recently used first out
_LAST_EXPORTS = re.compile(r"(?:^|[;}\s])(export\s*\{[^{}]*\}\s*;?\s*)\Z")
_EXPORTS_CHARS = 65_536  # how far from the end it is looked for
_HEAP_KEPT_BYTES = 200 * 1024 * 1024  # 200 files leave about 100 MB
_WARM_UP_RUNS = 3  # of 20 KB each; more gains nothing
_BUNDLE = "bundle.js"
_MODULE_WORD = re.compile(r"\b(?:import|export)\b")
_INLINE_MAP = re.compile(
    r"\n//# sourceMappingURL=data:application/json;(?:charset=[\w-]+;)?base64,([A-Za-z0-9+/=]+)\s*\Z"
)


class ScriptCompiler:
    """Turns projects and bundles into scripts. Keeps a warm TypeScript isolate and what it made of each file."""

    def __init__(
        self,
        settings: RuntimeSettings | None = None,
        typescript: Path | None = None,
        limit_s: float = COMPILE_LIMIT_S,
        cache_chars: int = CACHE_CHARS,
    ) -> None:
        """Prepares; nothing is loaded yet.

        Args:
            settings: Limits on files and bytes. The script's size is checked by the deployer, which records it.
            typescript: typescript.js; None: where the SDK's build leaves it.
            limit_s: Longest time for one request.
            cache_chars: Bound of the cache, in characters of code and mappings.
        """
        self._settings = settings or RuntimeSettings()
        self._typescript = typescript
        self._limit_s = limit_s
        self._isolate: TypeScriptIsolate | None = None
        self._cache = _ModuleCache(cache_chars)

    def warm_up(self) -> None:
        """Loads TypeScript and runs it a little, so that the first deploy need not wait for V8 to optimise it.

        Raises:
            FileNotFoundError, CompilationEnded: It is not there or does not load.
        """
        sample = Path(__file__).with_name("transform.js").read_text("utf-8")
        ends_at = time.monotonic() + self._limit_s
        for run in range(_WARM_UP_RUNS):
            self._transform_now(".ts", f"{sample}\nexport const run: number = {run}", False, ends_at)

    def is_warm(self) -> bool:
        """Whether the next request finds TypeScript loaded."""
        return self._isolate is not None

    def close(self) -> None:
        """Lets the isolate go. The next request makes a new one."""
        if self._isolate is not None:
            self._isolate.close()
            self._isolate = None

    def compile(self, request: Compile) -> Compiled:
        """The script of a project, or of a bundle if there is one.

        A bundle that V8 takes as it is comes back unchanged, with its map, without TypeScript. So does every script
        made here, which is how a stored deployment is restored.

        Raises:
            BundleFailed: The files cannot become a script. `details` has file, line and column where known.
            LoadFailed: The bundle or its map is at fault; same details.
        """
        ends_at = time.monotonic() + self._limit_s
        base_url = f"file:///guild/{request.guild_id}/"
        try:
            if request.bundle is not None:
                return self._compile_bundle(request.bundle, request.source_map, base_url, ends_at)
            return self._compile_files(request.entry, request.files or (), base_url, ends_at)
        finally:
            self._let_go_if_large()

    def _let_go_if_large(self) -> None:
        """V8 gives memory back only when it collects, and an idle isolate does not."""
        if self._isolate is not None and self._isolate.heap_bytes() > _HEAP_KEPT_BYTES:
            self.close()

    # Projects

    def _compile_files(self, entry: str, files: tuple[SourceFile, ...], base_url: str, ends_at: float) -> Compiled:
        limits = self._settings
        project = project_files(files, limits.max_bundle_files, limits.max_bundle_total_bytes)
        root = normalize(entry)
        if root is None or root not in project:
            raise BundleFailed(f"entry file not found: {printable(entry)}")
        graph = build_graph(
            root,
            load=lambda path: self._module(path, project[path], ends_at),
            resolve=lambda importer, specifier: resolve(project, importer, specifier),
            is_relative=is_relative,
        )
        graph.check()
        compiled = link(graph, base_url)
        try:
            fault = check_syntax(compiled.script, _left_s(ends_at))
        except CompilationEnded as exc:
            raise BundleFailed(f"failed to parse {root}: {exc}", file=root) from exc
        if fault is not None:
            raise _project_fault(fault, compiled, root)
        return compiled

    def _module(self, path: str, text: str, ends_at: float) -> Module:
        kind = kind_of(path)
        if kind is None:
            raise BundleFailed(f"failed to parse {path}: not a TypeScript, JavaScript or JSON file", file=path)
        if kind == ".json":
            return _json_module(path, text)
        try:
            return self._transform(kind, text, False, ends_at)
        except SourceRejected as exc:
            raise _rejected(path, exc) from exc
        except CompilationEnded as exc:
            raise BundleFailed(f"failed to parse {path}: {exc}", file=path) from exc

    def _transform(self, kind: str, text: str, bundle: bool, ends_at: float) -> Module:
        key = hashlib.sha256(f"{kind}\n{bundle}\n{text}".encode()).digest()
        found = self._cache.get(key)
        if found is None:
            found = self._transform_now(kind, text, bundle, ends_at)
            self._cache.put(key, found)
        return found

    def _transform_now(self, kind: str, text: str, bundle: bool, ends_at: float) -> Module:
        if self._isolate is None:
            self._isolate = TypeScriptIsolate(self._typescript or typescript_path())
        try:
            return self._isolate.transform(kind, text, bundle, ends_at - time.monotonic())
        except SourceRejected:
            raise
        except BaseException:
            self.close()
            raise

    # Ready-made bundles

    def _compile_bundle(self, bundle: str, source_map: SourceFile | None, base_url: str, ends_at: float) -> Compiled:
        script, map_text = take_inline_map(bundle, source_map.contents if source_map else None)
        places = _read_map(map_text)
        try:
            fault = check_syntax(script, _left_s(ends_at))
            if fault is None:
                return Compiled(script=script, source_map=map_text)
            plain = without_last_exports(script)
            if plain is not None and check_syntax(plain, _left_s(ends_at)) is None:
                return Compiled(script=plain, source_map=map_text)
            if not _MODULE_WORD.search(script):
                raise _bundle_fault(fault.text, fault.line, fault.column, places)
            return self._compile_module_bundle(script, map_text, places, base_url, ends_at)
        except UnicodeEncodeError as exc:
            raise LoadFailed("the bundle is not valid Unicode") from exc
        except CompilationEnded as exc:
            raise LoadFailed(f"the bundle cannot be used: {exc}") from exc

    def _compile_module_bundle(
        self, script: str, map_text: str | None, places: SourceMap | None, base_url: str, ends_at: float
    ) -> Compiled:
        """A bundle in module form: exports go, imports are refused unless they name the SDK, the rest stays."""
        try:
            module = self._transform(".js", script, True, ends_at)
        except SourceRejected as exc:
            raise _bundle_fault(exc.text, exc.line, exc.column, places) from exc
        try:
            linked = link(build_graph(_BUNDLE, lambda _: module, _nothing_else, lambda _: False), base_url)
        except BundleFailed as exc:
            raise LoadFailed(str(exc), **exc.details) from exc
        lines_added = linked.script[: linked.script.index(module.code)].count("\n")
        fault = check_syntax(linked.script, _left_s(ends_at))
        if fault is not None:
            raise _bundle_fault(fault.text, fault.line - lines_added, fault.column, places)
        return Compiled(script=linked.script, source_map=_moved_map(map_text, module, lines_added))


def _nothing_else(importer: str, specifier: str) -> None:
    return None


def _left_s(ends_at: float) -> float:
    return max(ends_at - time.monotonic(), 0.001)


def take_inline_map(bundle: str, map_text: str | None) -> tuple[str, str | None]:
    """A bundle without the source map in its last line, and the map to use: the given one, else that one, else None."""
    at = bundle.rfind("\n//# sourceMappingURL=")
    found = _INLINE_MAP.match(bundle, at) if at >= 0 else None
    if found is None:
        return bundle, map_text
    if map_text is None:
        try:
            map_text = base64.b64decode(found[1], validate=True).decode()
        except ValueError as exc:
            raise LoadFailed(f"invalid source map JSON: {exc}") from exc
    return bundle[: found.start()], map_text


def without_last_exports(bundle: str) -> str | None:
    """A bundle with blanks for the `export { … }` that bundlers write at its end, or None if it does not end so.

    Nobody imports the bundle, so the statement does nothing. Without it most bundles are plain, and TypeScript, which
    takes a hundred times a text's size in memory, need not read it. Whether the rest is a program is for V8 to say.
    """
    start = max(len(bundle) - _EXPORTS_CHARS, 0)
    found = _LAST_EXPORTS.search(bundle, start)
    if found is None:
        return None
    blanks = "".join(one if one in "\n\r\u2028\u2029" else " " for one in found[1])
    return bundle[: found.start(1)] + blanks


def _read_map(map_text: str | None) -> SourceMap | None:
    try:
        return SourceMap(map_text) if map_text is not None else None
    except InvalidSourceMap as exc:
        raise LoadFailed(str(exc)) from exc


def _moved_map(map_text: str | None, module: Module, lines_added: int) -> str | None:
    """The map that came with a bundle, for what became of the bundle."""
    if map_text is None:
        return None
    raw = json.loads(map_text)
    try:
        raw["mappings"] = ";" * lines_added + shift_mappings(raw.get("mappings", ""), module.shifts)
    except InvalidSourceMap as exc:
        raise LoadFailed(str(exc)) from exc
    return json.dumps(raw, separators=(",", ":"))


def _json_module(path: str, text: str) -> Module:
    text = text.removeprefix("\ufeff")
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as exc:
        where = {"file": path, "line": exc.lineno, "column": exc.colno}
        raise BundleFailed(f"failed to parse {path}: {path}:{exc.lineno}:{exc.colno} - {exc.msg}", **where) from exc
    except (ValueError, RecursionError) as exc:
        raise BundleFailed(f"failed to parse {path}: {exc}", file=path) from exc
    # V8 parses the text itself: its numbers and its treatment of "__proto__" are the ones that count.
    code = f"const $flora$d=JSON.parse({json.dumps(text)});"
    return Module(code=code, lines=1, exports={"default": "$flora$d"}, shifts={})


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _rejected(path: str, exc: SourceRejected) -> BundleFailed:
    place = f"{path}:{exc.line}:{exc.column}"
    if exc.kind == "import":
        message = f"unsupported import: {exc.text} ({place}); only static imports of files of the project are possible"
    else:
        message = f"failed to {exc.kind} {path}: {place} - {exc.text}"
    return BundleFailed(message, file=path, line=exc.line, column=exc.column)


def _project_fault(fault: SyntaxFault, compiled: Compiled, entry: str) -> BundleFailed:
    """V8 refused what TypeScript had taken, e.g. a name declared twice."""
    found = SourceMap(compiled.source_map).lookup(fault.line, fault.column) if compiled.source_map else None
    if found is None:
        return BundleFailed(f"failed to parse {entry}: {fault.text}", file=entry)
    message = f"failed to parse {found.source}: {found} - {fault.text}"
    return BundleFailed(message, file=found.source, line=found.line, column=found.column)


def _bundle_fault(text: str, line: int, column: int | None, places: SourceMap | None) -> LoadFailed:
    mapped = places.lookup(line, column) if places else None
    found = SourcePosition(_BUNDLE, line, column or 1)
    if mapped is not None:
        found = replace(mapped, source=relative_source(mapped.source))
    return LoadFailed(f"{text} ({found})", file=found.source, line=found.line, column=found.column)


class _ModuleCache:
    """Rewritten modules by content, least recently used first out."""

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self._chars = 0
        self._modules: OrderedDict[bytes, Module] = OrderedDict()

    def get(self, key: bytes) -> Module | None:
        found = self._modules.get(key)
        if found is not None:
            self._modules.move_to_end(key)
        return found

    def put(self, key: bytes, module: Module) -> None:
        self._modules[key] = module
        self._chars += module.size
        while self._chars > self._max_chars:
            _, gone = self._modules.popitem(last=False)
            self._chars -= gone.size
