"""Joins rewritten modules into the one script a guild's isolate runs.

Each module becomes a generator function. Its first step hoists its functions and hands out its exports as getters, so
live bindings, cycles and "cannot access before initialization" are the language's own; its second step is the author's
code, line by line. A project of one module is just that module. Everything an author names goes into the text as a JSON
string and never as code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from flora.actors.compile.graph import SDK, Binding, Graph, Node, Step, schedule
from flora.actors.compile.model import SDK_PACKAGE
from flora.actors.isolate.source_map import decode_vlq, encode_vlq
from flora.messages.deployment import Compiled

_PLAIN_PATH = re.compile(r"^[\w./-]+$", re.ASCII)

# $flora$n: namespaces by module. $flora$p: fills one. Sealed and sorted like a real namespace object.
_NAMESPACES = (
    "const $flora$n=Array.from({length:%d},()=>Object.create(null)),"
    "$flora$p=(i,e)=>{const n=$flora$n[i];"
    "for(let k=0;k<e.length;k+=2)Object.defineProperty(n,e[k],{get:e[k+1],enumerable:true});"
    'Object.defineProperty(n,Symbol.toStringTag,{value:"Module"});Object.preventExtensions(n)};'
)

_SDK = (
    "const $flora$sdk=Object.create(null);"
    "for(const k of %s){if(!(k in globalThis))throw new SyntaxError(`%s has no export named ${k}`);"
    "$flora$sdk[k]=globalThis[k]}"
)

_RUN = "{const r=$flora$g.map(f=>f());for(const g of r)g.next();for(const g of r)g.next()}"

# Evaluation of asynchronous modules as the language specifies it.
# Steps: [has top-level await, waits for, parents, root of its cycle].
_RUN_ASYNC = (
    "{const r=$flora$g.map(f=>f()),s=%s,n=s.length,left=s.map(x=>x[1]),state=s.map(()=>0);"
    "await Promise.all(r.map(g=>g.next()));"
    "await new Promise((ok,no)=>{"
    "const start=i=>{r[i].next().then(()=>done(i),e=>fail(i,e))},"
    "end=i=>{state[i]=1;if(i===n-1)ok()},"
    "fail=(i,e)=>{if(state[i])return;state[i]=2;for(const p of s[i][2])fail(p,e);if(i===n-1)no(e)},"
    "done=i=>{if(state[i]===2)return;end(i);const ready=[];"
    "const gather=i=>{for(const p of s[i][2])if(!ready.includes(p)&&state[s[p][3]]!==2&&--left[p]===0)"
    "{ready.push(p);if(!s[p][0])gather(p)}};"
    "gather(i);ready.sort((a,b)=>a-b);"
    "for(const p of ready){if(state[p]===2)continue;if(s[p][0]){start(p);continue}"
    "try{r[p].next()}catch(e){fail(p,e);continue}end(p)}};"
    "for(let i=0;i<n;i++){if(left[i])continue;if(s[i][0]){start(i);continue}"
    "try{r[i].next()}catch(e){for(let k=i;k<n;k++)state[k]=2;no(e);return}end(i)}"
    "})}"
)


def link(graph: Graph, base_url: str) -> Compiled:
    """The script and its map.

    Args:
        graph: Checked modules; node 0 is the entry.
        base_url: What `import.meta.url` of a module begins with, e.g. `file:///guild/1/`.
    """
    writer = _Writer()
    sdk = _sdk_header(graph)
    if sdk:
        writer.line(sdk)
    if len(graph.nodes) == 1 and not _imports_itself(graph.nodes[0]):
        _write_alone(writer, graph.nodes[0], base_url)
    else:
        _write_project(writer, graph, base_url)
    return writer.compiled()


def _imports_itself(node: Node) -> bool:
    return any(target != SDK for target in node.targets)


def _sdk_header(graph: Graph) -> str:
    names = {
        one.name
        for node in graph.nodes
        for one in node.module.imported
        if node.targets[one.request] == SDK and one.name is not None
    }
    return _SDK % (json.dumps(sorted(names)), SDK_PACKAGE) if names else ""


def _write_alone(writer: _Writer, node: Node, base_url: str) -> None:
    bindings = _request_bindings(node)
    if bindings:
        writer.line(bindings)
    writer.module(node)
    if node.module.uses_meta:
        writer.line(_meta(node, base_url))


def _write_project(writer: _Writer, graph: Graph, base_url: str) -> None:
    steps = schedule(graph)
    writer.line(_NAMESPACES % len(graph.nodes) + "const $flora$g=[")
    for step in steps:
        node = graph.nodes[step.node]
        if _PLAIN_PATH.match(node.path):
            writer.line(f"// {node.path}")
        writer.line(_opening(graph, node))
        writer.module(node)
        if node.module.uses_meta:
            writer.line(_meta(node, base_url))
        writer.line("},")
    writer.line("];")
    writer.line(_RUN_ASYNC % _steps_literal(steps) if any(step.is_async for step in steps) else _RUN)


def _steps_literal(steps: Sequence[Step]) -> str:
    rows = [[int(step.is_async), step.waits_for, step.parents, step.root] for step in steps]
    return json.dumps(rows, separators=(",", ":"))


def _opening(graph: Graph, node: Node) -> str:
    getters = ",".join(
        f"{json.dumps(name)},()=>{_local(node, binding)}" for name, binding in graph.exports_of(node.index).items()
    )
    function = "async function*" if node.module.top_level_await else "function*"
    name = (
        'Object.defineProperty($flora$d,"name",{value:"default",configurable:true});'
        if node.module.default_function
        else ""
    )
    return f"{function}(){{$flora$p({node.index},[{getters}]);{name}{_request_bindings(node)}yield;"


def _local(node: Node, binding: Binding) -> str:
    if binding.node == SDK:
        return f"$flora$sdk[{json.dumps(binding.name)}]"
    if binding.name is None:
        return f"$flora$n[{binding.node}]"
    if binding.node == node.index:
        return node.module.exports[binding.name]
    return f"$flora$n[{binding.node}][{json.dumps(binding.name)}]"


def _request_bindings(node: Node) -> str:
    used = sorted({one.request for one in node.module.imported})
    targets = ((request, node.targets[request]) for request in used)
    return "".join(
        f"const $flora${request}={'$flora$sdk' if to == SDK else f'$flora$n[{to}]'};" for request, to in targets
    )


def _meta(node: Node, base_url: str) -> str:
    url = json.dumps(base_url + node.path)
    return f"function $flora$meta(){{return $flora$meta.v??={{__proto__:null,url:{url}}}}}"


class _Writer:
    """Collects text and mappings side by side."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._mappings: list[str] = []  # one entry per line of text, or per module as many lines as it has
        self._sources: list[str] = []
        self._source = self._line = self._column = 0  # of the last mapping written

    def line(self, text: str) -> None:
        """A line of ours, which maps to nothing."""
        self._text.append(text)
        self._mappings.append("")

    def module(self, node: Node) -> None:
        """A module's code with its mappings, made to continue where the last module's ended."""
        module = node.module
        self._text.append(module.code)
        index = len(self._sources)
        self._sources.append(node.path)
        padding = ";" * (module.lines - 1 - module.mappings.count(";"))
        self._mappings.append(self._continued(module.mappings, index) + padding)
        if module.mappings.strip(";"):
            self._source, (self._line, self._column) = index, module.last

    def _continued(self, mappings: str, index: int) -> str:
        first = re.search(r"[^;,]+", mappings)
        if first is None:
            return mappings
        column, _, line, source_column = decode_vlq(first[0])
        moved = encode_vlq((column, index - self._source, line - self._line, source_column - self._column))
        return mappings[: first.start()] + moved + mappings[first.end() :]

    def compiled(self) -> Compiled:
        """Script and map of everything written."""
        source_map = {
            "version": 3,
            "file": "bundle.js",
            "sources": self._sources,
            "names": [],
            "mappings": ";".join(self._mappings),
        }
        return Compiled(script="\n".join(self._text), source_map=json.dumps(source_map, separators=(",", ":")))
