"""The module graph: which modules there are, what each export means, in which order they run.

The rules are those of ECMAScript modules (source text module records): names are resolved through re-exports before
anything runs, evaluation is depth first, and a module with top-level await holds up only those that depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flora.actors.compile.model import SDK_PACKAGE, Module
from flora.messages.errors import BundleFailed

AMBIGUOUS = "ambiguous"
SDK = -1
"""Target of an import of the SDK package, whose values are globals."""

_MAX_SEARCHES = 1_000_000  # about a second; a project that needs more was made to need more


@dataclass(slots=True)
class Node:
    """A module in its project. `targets[i]` is the index of the node that `module.requests[i]` means, or SDK."""

    index: int
    path: str
    module: Module
    targets: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Binding:
    """Where an exported name really lives. `name` None: the namespace of that module."""

    node: int
    name: str | None


class Graph:
    """All modules reachable from the entry, which is node 0, in order of discovery."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes
        self._resolved: dict[tuple[int, str], Binding | str | None] = {}
        self._searches = 0

    def resolve_export(self, node: int, name: str) -> Binding | str | None:
        """The binding behind an exported name, AMBIGUOUS, or None if there is no such export."""
        key = (node, name)
        if key not in self._resolved:
            self._resolved[key] = self._search(node, name, set())
        return self._resolved[key]

    def _search(self, node: int, name: str, seen: set[tuple[int, str]]) -> Binding | str | None:
        self._count_search()
        if node == SDK:
            return Binding(SDK, name)
        if (node, name) in seen:
            return None
        seen.add((node, name))
        module, targets = self.nodes[node].module, self.nodes[node].targets
        if name in module.exports:
            return Binding(node, name)
        for one in module.indirect:
            if one.exported == name:
                target = targets[one.request]
                return Binding(target, None) if one.name is None else self._search(target, one.name, seen)
        return None if name == "default" else self._search_stars(node, name, seen)

    def _search_stars(self, node: int, name: str, seen: set[tuple[int, str]]) -> Binding | str | None:
        found: Binding | None = None
        for request in self.nodes[node].module.stars:
            one = self._search(self.nodes[node].targets[request], name, seen)
            if isinstance(one, str):
                return one
            if one is not None:
                if found is not None and one != found:
                    return AMBIGUOUS
                found = one
        return found

    def is_type(self, node: int, name: str) -> bool:
        """Whether a name that resolves to no value is an exported type. Anything of the SDK may be one."""
        return self._search_type(node, name, set())

    def _search_type(self, node: int, name: str, seen: set[tuple[int, str]]) -> bool:
        if node == SDK or (node, name) in seen:
            return node == SDK
        self._count_search()
        seen.add((node, name))
        module, targets = self.nodes[node].module, self.nodes[node].targets
        if name in module.types or "*" in module.types:
            return True
        for one in module.indirect:
            if one.exported == name:
                return one.name is not None and self._search_type(targets[one.request], one.name, seen)
        return any(self._search_type(targets[request], name, seen) for request in module.stars)

    def _count_search(self) -> None:
        self._searches += 1
        if self._searches > _MAX_SEARCHES:
            raise BundleFailed("the modules re-export each other in too many ways")

    def exports_of(self, node: int) -> dict[str, Binding]:
        """Everything a module's namespace has, sorted as the language says (by UTF-16 code units)."""
        found: dict[str, Binding] = {}
        for name in sorted(self._names(node, set()), key=lambda one: one.encode("utf-16-be", "surrogatepass")):
            binding = self.resolve_export(node, name)
            if isinstance(binding, Binding):
                found[name] = binding
        return found

    def _names(self, node: int, seen: set[int]) -> set[str]:
        if node == SDK or node in seen:
            return set()
        seen.add(node)
        module, targets = self.nodes[node].module, self.nodes[node].targets
        names = set(module.exports) | {one.exported for one in module.indirect}
        for request in module.stars:
            names |= self._names(targets[request], seen) - {"default"}
        return names

    def check(self) -> None:
        """Refuses imports and re-exports of names that do not exist.

        Raises:
            BundleFailed: Names the import, the module and the place.
        """
        for node in self.nodes:
            for one in node.module.imported:
                if one.name is not None:
                    self._check_one(node, one.request, one.name)
            for export in node.module.indirect:
                if export.name is not None and not self.is_type(node.index, export.exported):
                    self._check_one(node, export.request, export.name)

    def _check_one(self, node: Node, request: int, name: str) -> None:
        target = node.targets[request]
        found = self.resolve_export(target, name)
        if isinstance(found, Binding):
            return
        line, column = node.module.places[request]
        specifier = node.module.requests[request]
        what = "is exported by several modules through" if found == AMBIGUOUS else "is not exported by"
        place = f"{node.path}:{line}:{column}"
        raise BundleFailed(
            f"missing export: {name} {what} {specifier} ({place})", file=node.path, line=line, column=column
        )


@dataclass(slots=True)
class Step:
    """How one module is evaluated. `waits_for` counts what must finish first; `parents` wait for this one."""

    node: int
    is_async: bool  # has top-level await itself
    waits_for: int = 0
    parents: list[int] = field(default_factory=list)  # indices of steps
    root: int = -1  # index of the step that is the root of its cycle


class _Scheduler:
    """Tarjan's walk as the language specifies it, without recursion."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.steps: list[Step] = []
        self.step_of: dict[int, int] = {}  # node → step
        self.low: dict[int, int] = {}
        self.number: dict[int, int] = {}
        self.open: list[int] = []
        self.root_of: dict[int, int] = {}  # node → node that is the root of its cycle

    def run(self) -> list[Step]:
        work: list[tuple[int, int]] = [(0, 0)]
        self._enter(0)
        while work:
            node, at = work.pop()
            targets = self._targets(node)
            if at < len(targets):
                work.append((node, at + 1))
                if targets[at] not in self.number:
                    self._enter(targets[at])
                    work.append((targets[at], 0))
                continue
            self._finish(node, targets)
        for step in self.steps:
            step.root = self.step_of[self.root_of[step.node]]
        return self.steps

    def _targets(self, node: int) -> list[int]:
        return [one for one in self.graph.nodes[node].targets if one != SDK]

    def _enter(self, node: int) -> None:
        self.number[node] = self.low[node] = len(self.number)
        self.open.append(node)

    def _finish(self, node: int, targets: list[int]) -> None:
        step = Step(node, self.graph.nodes[node].module.top_level_await)
        index = len(self.steps)
        for target in targets:
            if target not in self.root_of:
                self.low[node] = min(self.low[node], self.low[target])
            waited = self.step_of.get(self.root_of.get(target, target))
            if waited is not None and (self.steps[waited].is_async or self.steps[waited].waits_for):
                step.waits_for += 1
                self.steps[waited].parents.append(index)
        self.steps.append(step)
        self.step_of[node] = index
        if self.low[node] == self.number[node]:
            while True:
                member = self.open.pop()
                self.root_of[member] = node
                if member == node:
                    break


def schedule(graph: Graph) -> list[Step]:
    """The order of evaluation, dependencies first; the entry is last."""
    return _Scheduler(graph).run()


def build_graph(
    entry: str,
    load: Callable[[str], Module],
    resolve: Callable[[str, str], str | None],
    is_relative: Callable[[str], bool],
) -> Graph:
    """Follows imports from the entry.

    Args:
        entry: Path of the entry, which exists.
        load: Rewrites the module of a path.
        resolve: Path of the importer and specifier → path of the module, or None.
        is_relative: Whether a specifier names a file of the project at all.

    Raises:
        BundleFailed: An import of something that is not there or not allowed; and whatever `load` raises.
    """
    nodes = [Node(0, entry, load(entry))]
    known = {entry: 0}
    for node in nodes:
        for request, specifier in enumerate(node.module.requests):
            if specifier == SDK_PACKAGE:
                _check_sdk_import(node, request)
                node.targets.append(SDK)
                continue
            path = resolve(node.path, specifier) if is_relative(specifier) else None
            if path is None:
                raise _refused(node, request, specifier, is_relative(specifier))
            if path not in known:
                known[path] = len(nodes)
                nodes.append(Node(known[path], path, load(path)))
            node.targets.append(known[path])
    return Graph(nodes)


def _refused(node: Node, request: int, specifier: str, relative: bool) -> BundleFailed:
    line, column = node.module.places[request]
    place = f"{node.path}:{line}:{column}"
    reason = "missing module" if relative else "unsupported import"
    hint = "" if relative else "; only files of the project (./ and ../) can be imported"
    return BundleFailed(f"{reason}: {specifier} ({place}){hint}", file=node.path, line=line, column=column)


def _check_sdk_import(node: Node, request: int) -> None:
    """The package has types only; its values are globals. Imports by name get those globals; others have no meaning."""
    module = node.module
    by_name = all(one.name not in (None, "default") for one in module.imported if one.request == request)
    again = request in module.stars or any(one.request == request for one in module.indirect)
    if by_name and not again:
        return
    line, column = module.places[request]
    place = f"{node.path}:{line}:{column}"
    raise BundleFailed(
        f"unsupported import: {SDK_PACKAGE} ({place}); the SDK's values are globals: import single names or nothing",
        file=node.path,
        line=line,
        column=column,
    )
