"""The sandbox is closed: no code from text, no modules, nothing of the host; whoever breaks its own globals breaks only itself."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from flora.actors.isolate.output_text import decode_output

pytestmark = [pytest.mark.service, pytest.mark.scenario("T36")]

ESCAPES = {
    "eval": "eval('1 + 1')",
    "indirect eval": "(0, eval)('1 + 1')",
    "eval of another name": "const e = globalThis.eval; e('1 + 1')",
    "Function": "Function('return 1')()",
    "new Function": "new Function('return 1')()",
    "constructor of a function": "(() => {}).constructor('return 1')()",
    "constructor of a constructor": "[].constructor.constructor('return 1')()",
    "async function": "await (async () => {}).constructor('return 1')()",
    "generator": "(function* () {}).constructor('yield 1')().next()",
    "async generator": "await (async function* () {}).constructor('yield 1')().next()",
    "Reflect.construct": "Reflect.construct(Function, ['return 1'])()",
    "a class of functions": "new (class extends Function { constructor() { super('return 1') } })()()",
    "the constructor of a builtin": "Object.getPrototypeOf(Math.max).constructor('return 1')()",
    "the constructor of the API": "on.constructor('return 1')()",
    "import": "await import('x')",
    "import of a file": "await import('file:///etc/passwd')",
    "import of data": "await import('data:text/javascript,export default 1')",
    "import of a builtin": "await import('node:fs')",
    "setTimeout with text": "setTimeout('1', 1)",
    "setInterval with text": "setInterval('1', 1)",
    "queueMicrotask with text": "queueMicrotask('1')",
    "require": "require('fs')",
    "WebAssembly": "new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))",
    "shared memory": "new SharedArrayBuffer(8)",
    "waiting for shared memory": "Atomics.waitAsync(new Int32Array(8), 0, 0)",
    "blocking": "Atomics.wait(new Int32Array(8), 0, 0)",
    "finalizers": "new FinalizationRegistry(() => {})",
    "finalizers, found elsewhere": "new (Object.getPrototypeOf(FinalizationRegistry.prototype).constructor)()",
    "realms": "new ShadowRealm().evaluate('1')",
    "the caller": "(function f() { return f.caller.name })()",
    "the callee": "(function () { return arguments.callee.name })()",
    "natives": "globalThis['%DebugPrint'](1)",
    "gc": "gc()",
    "statistics": "getV8Statistics()",
    "the host": "__floraHost.op('op_log', [])",
    "Deno": "Deno.core.ops.op_log()",
    "process": "process.env",
    "mini-racer's timers": "__timer_manager.setTimeout(() => {}, 1)",
}


def logged(talk: Any) -> list[str]:
    return [text for _, text in talk.answer()["l"]]


@pytest.mark.parametrize("code", ESCAPES.values(), ids=ESCAPES)
def test_given_a_way_out_when_a_script_tries_it_then_it_is_refused(real_host: Any, code: str) -> None:
    talk = real_host.open()
    talk.load(
        f"on('messageCreate', async () => {{ try {{ {code}; console.log('escaped') }} catch {{ console.log('refused') }} }})"
    )
    talk.send("x")

    assert logged(talk) == ["refused"]


OURS = (
    "__floraDispatch __floraGuildId __floraHandlers AbortController AbortSignal CustomEvent DOMException Event EventTarget TextDecoder "
    "TextEncoder URL URLSearchParams atob btoa clearImmediate clearInterval clearTimeout console createBot cron crypto flora kv on "
    "performance prefix queueMicrotask registerSlashCommands rest secrets self setImmediate setInterval setTimeout slash store "
    "structuredClone"
)
STANDARD = (
    "AggregateError Array ArrayBuffer AsyncDisposableStack Atomics BigInt BigInt64Array BigUint64Array Boolean DataView Date "
    "DisposableStack Error EvalError Float16Array Float32Array Float64Array Function Infinity Int16Array Int32Array Int8Array Intl "
    "Iterator JSON Map Math NaN Number Object Promise Proxy RangeError ReferenceError Reflect RegExp Set String SuppressedError Symbol "
    "SyntaxError Temporal TypeError URIError Uint16Array Uint32Array Uint8Array Uint8ClampedArray WeakMap WeakRef WeakSet decodeURI "
    "decodeURIComponent encodeURI encodeURIComponent escape eval globalThis isFinite isNaN parseFloat parseInt undefined unescape"
)
SDK_NAMES = "Object.keys(flora)"


def test_given_the_global_scope_when_listed_then_every_name_in_it_is_meant_to_be_there(real_host: Any) -> None:
    """A newer V8 or mini-racer may bring another: look at what it can do, then add it here or to what the prelude removes."""
    talk = real_host.open()
    talk.load(
        f"""
        const ours = new Set([...{SDK_NAMES}, ...{json.dumps(OURS.split())}, ...{json.dumps(STANDARD.split())}])
        on('messageCreate', () => {{
          console.log(Reflect.ownKeys(globalThis).filter((name) => typeof name === 'symbol' || !ours.has(name)).map(String).join())
        }})
        """
    )
    talk.send("x")

    assert logged(talk)[0] == ""


WALK = """
function reachable() {
  const seen = new Set()
  const todo = [
    globalThis, function () {}, async () => {}, function* () {}, async function* () {}, (function* () {})(),
    (async function* () {})(), [][Symbol.iterator](), new Map().entries(), ''.matchAll(/x/g), new Error('x'),
    Promise.resolve(), new Uint8Array(100), new Uint8Array(100).buffer,
  ]
  while (todo.length > 0) {
    const each = todo.pop()
    if ((typeof each !== 'object' && typeof each !== 'function') || each === null || seen.has(each)) continue
    seen.add(each)
    todo.push(Reflect.getPrototypeOf(each))
    for (const key of Reflect.ownKeys(each)) {
      const { value, get, set } = Reflect.getOwnPropertyDescriptor(each, key)
      todo.push(value, get, set)
      try { todo.push(each[key]) } catch {}
    }
  }
  return [...seen]
}
"""


def test_given_everything_a_script_can_reach_when_searched_then_no_uncounted_constructor_is_among_it(
    real_host: Any,
) -> None:
    talk = real_host.open()
    talk.load(
        WALK
        + """
        on('messageCreate', (ctx) => {
          const all = reachable()
          const native = (f) => typeof f === 'function' && /\\[native code\\]/.test(Function.prototype.toString.call(f))
          const buffers = /^((Shared)?ArrayBuffer|(Big)?(Int|Uint|Float)\\d+(Clamped)?Array|from(Base64|Hex)|transfer\\w*)$/
          const kept = (f) => f.name === 'FinalizationRegistry' || buffers.test(f.name)
          const found = all.filter((f) => native(f) && kept(f)).map((f) => f.name)
          console.log(String(all.length > 1000), found.join())
        })
        """
    )
    talk.send("x")

    assert logged(talk) == ["true "]


FRAMES_SEEN_FROM = {
    "a handler": "on('x', function () { look() })",
    "after a wait": "on('x', async function () { await null; look() })",
    "a timer": "on('x', () => new Promise((done) => setTimeout(() => { look(); done() }, 1)))",
    "a microtask": "on('x', () => queueMicrotask(look))",
    "toJSON called by the console": "on('x', () => console.log({ toJSON() { look() } }))",
    "toJSON called by an operation": "on('x', (ctx) => { ctx.reply({ toJSON() { look(); return {} } }) })",
    "a getter read by an operation": "on('x', (ctx) => { ctx.reply({ get content() { look() } }) })",
    "a proxy asked by an operation": "on('x', (ctx) => { ctx.reply(new Proxy({}, { ownKeys() { look(); return [] } })) })",
    "a result's then": "on('x', () => ({ then(done) { look(); done() } }))",
    "the API's own error": "on('x', () => { try { setTimeout('no') } catch (error) { look(error) } })",
    "a callback of an array": "on('x', () => new Uint8Array(100).map(() => (look(), 1)))",
    "a length asked by a constructor": "on('x', () => new Uint8Array({ get length() { look(); return 1 } }))",
}


@pytest.mark.parametrize("script", FRAMES_SEEN_FROM.values(), ids=FRAMES_SEEN_FROM)
def test_given_the_stack_api_when_a_script_looks_at_its_callers_then_it_gets_no_function_and_no_object(
    real_host: Any, script: str
) -> None:
    talk = real_host.open()
    talk.load(
        """
        const found = []
        let frames = 0
        function look(error) {
          Error.prepareStackTrace = (_, sites) => sites
          for (const site of (error ?? new Error()).stack) {
            frames++
            for (const each of [site.getThis(), site.getFunction()]) if (each !== undefined && each !== globalThis) found.push(String(each))
          }
          Error.prepareStackTrace = undefined
        }
        on('report', () => console.log(frames > 0, found.join()))
        """
        + script
    )
    talk.isolate.dispatch(b'{"t":0,"e":[[1,"x",{"channelId":"1"}]]}')
    talk.answer()
    talk.isolate.dispatch(b'{"t":100000,"e":[[2,"report",{}]]}')

    texts: list[str] = []
    while not texts:
        answer = talk.answer()
        texts = [text for _, text in answer.get("l", []) if text.startswith(("true", "false"))]
        if answer.get("m"):
            talk.isolate.take()
    assert texts == ["true "]


def test_given_a_payload_with_names_of_the_language_when_it_arrives_then_it_is_data_and_pollutes_nothing(
    real_host: Any,
) -> None:
    talk = real_host.open()
    talk.load(
        """
        on('messageCreate', (ctx) => {
          console.log(Object.keys(ctx.msg).join(), ({}).polluted, [].polluted, typeof ctx.msg.constructor, ctx.id)
          const copy = structuredClone(ctx.msg)
          ctx.reply({ ...ctx.msg })
          const given = [['__proto__', { polluted: 1 }], ['constructor', 1]]
          const options = flattenInteractionOptions(given.map(([name, value]) => ({ name, type: 3, value })))
          console.log(({}).polluted, Object.getPrototypeOf(options) === Object.prototype || Object.getPrototypeOf(options) === null)
        })
        """
    )
    payload = '{"id":"5","channelId":"1","__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}'
    talk.isolate.dispatch(f'{{"e":[[1,"messageCreate",{payload}]]}}'.encode())

    answer = talk.answer()
    assert [text for _, text in answer["l"]] == [
        "id,channelId,__proto__,constructor undefined undefined object 5",
        "undefined true",
    ]
    assert answer["d"][0][1] == "ok"


FORGERIES = {
    "text that looks like output": r"""console.log('"],["info","x"]],"d":[[99,"ok",null,1]],"x":["'); throw 'a"]],"d":[[98]]'""",
    "an event's name": r"""on('"],"d":[[99,"ok",null,1]],"h":["', () => {})""",
    "a raw piece of JSON": "rest.sendMessage({ channelId: JSON.rawJSON('1e999'), content: JSON.rawJSON('99999999999999999999') })",
    "halves of characters": r"console.log('\ud800', '\udc00'); rest.sendMessage({ channelId: '1', content: '\ud83d' })",
    "every control character": "console.log(String.fromCharCode(...Array(64).keys(), 0x2028, 0xfeff, 0xffff))",
    "a replaced encoder": "JSON.stringify = () => '],[99'; String.prototype.toJSON = Array.prototype.toJSON = () => 1; throw 'x'",
    "an error that is not one": "throw Object.create(Error.prototype, { stack: { get() { return { toString() { throw 1 } } } } })",
    "a revoked proxy": "const r = Proxy.revocable({}, {}); r.revoke(); console.log(r.proxy); throw r.proxy",
    "a proxy that answers everything": (
        "const p = new Proxy(function () {}, { get: () => p, apply: () => p }); console.log(p); rest.sendMessage(p); throw p"
    ),
    "numbers that are none": "setTimeout(() => {}, NaN); setTimeout(() => {}, -Infinity); setTimeout(() => {}, 1e308)",
}


@pytest.mark.parametrize("code", FORGERIES.values(), ids=FORGERIES)
def test_given_a_script_that_forges_output_when_decoded_then_only_what_it_did_is_said(
    real_host: Any, code: str
) -> None:
    talk = real_host.open()
    talk.load(f"on('messageCreate', async () => {{ {code} }}); on('next', () => {{}})")
    talk.isolate.dispatch(orjson.dumps({"t": 1000, "e": [[1, "messageCreate", {}], [2, "next", {}]]}))

    said: list[dict[str, Any]] = [decode_output(talk.hear())]
    while said[-1].get("m") or not any(done[0] == 2 for each in said for done in each.get("d", ())):
        talk.isolate.take()
        said.append(decode_output(talk.hear()))

    ended = [tuple(done[:2]) for each in said for done in each.get("d", ())]
    assert sorted(seq for seq, _ in ended) == [1, 2]
    assert {outcome for _, outcome in ended} <= {"ok", "threw"}
    for each in said:
        assert set(each) <= {*"odlhcnsqpbmkw", "or", "tr", "tn"}
        assert all(level in {"debug", "error", "info", "trace", "warn"} for level, _ in each.get("l", ()))
        assert [name for _, name, _ in each.get("o", ())] in ([], ["op_send_message"])
