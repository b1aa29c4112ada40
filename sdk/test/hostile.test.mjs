// Scripts that break their own world: the protocol goes on, and the host can still be told what happened.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Isolate } from './isolate.mjs'

/** Each breaks something the prelude would use if it were careless. */
const SABOTAGE = {
  'JSON replaced': 'globalThis.JSON = { parse: () => ({}), stringify: () => "x" }',
  'JSON methods replaced': 'JSON.parse = JSON.stringify = () => { throw new Error("mine") }',
  'Promise replaced': 'globalThis.Promise = class { then() { throw 1 } }',
  'Promise.prototype.then throws': 'Promise.prototype.then = () => { throw new Error("then") }',
  'Promise species': 'Object.defineProperty(Promise, Symbol.species, { get() { throw new Error("species") } })',
  'Array methods throw':
    'for (const name of Object.getOwnPropertyNames(Array.prototype)) { if (typeof Array.prototype[name] === "function" && name !== "constructor") Array.prototype[name] = () => { throw new Error(name) } }',
  'Array iterator throws': 'Array.prototype[Symbol.iterator] = () => { throw new Error("iterator") }',
  'index setters on Array.prototype':
    'for (let i = 0; i < 50; i++) Object.defineProperty(Array.prototype, String(i), { set() { throw new Error("setter") }, get() { return "hijacked" }, configurable: true })',
  'setters for protocol keys on Object.prototype':
    'for (const key of ["c", "r", "t", "e", "o", "d", "l", "seq", "task", "next", "id", "msg", "reply", "message", "code", "cron", "value", "get", "set", "writable", "resolve", "stack"]) Object.defineProperty(Object.prototype, key, { __proto__: null, set() { throw new Error("setter " + key) }, get() { return "hijacked" }, configurable: true })',
  'values for protocol keys on Object.prototype':
    'for (const key of ["c", "r", "e", "cron", "message", "code", "name"]) Object.prototype[key] = [["kill", 1]]',
  'toJSON on Object.prototype': 'Object.prototype.toJSON = function () { return "gone" }',
  'toJSON on Array.prototype': 'Array.prototype.toJSON = function () { return 5 }',
  'toJSON on String.prototype': 'String.prototype.toJSON = function () { return "no" }',
  'Map and Set emptied':
    'for (const K of [Map, Set]) for (const name of Object.getOwnPropertyNames(K.prototype)) { try { K.prototype[name] = () => { throw 1 } } catch {} }',
  'String methods throw':
    'for (const name of ["slice", "startsWith", "indexOf", "trim", "split", "repeat", "replace"]) String.prototype[name] = () => { throw new Error(name) }',
  'Function.prototype broken':
    'Function.prototype.call = Function.prototype.apply = Function.prototype.bind = () => { throw new Error("call") }',
  'Reflect and Object emptied':
    'for (const O of [Reflect, Object]) for (const name of Object.getOwnPropertyNames(O)) { try { O[name] = () => { throw 1 } } catch {} }',
  'Error replaced': 'globalThis.Error = function () { throw 1 }; globalThis.TypeError = null',
  'prepareStackTrace throws': 'Error.prepareStackTrace = () => { throw new Error("prepare") }',
  'prepareStackTrace returns objects': 'Error.prepareStackTrace = () => ({ toString() { throw 1 } })',
  'stackTraceLimit nonsense': 'Error.stackTraceLimit = "x"',
  'Date frozen and wrong': 'Date.now = () => NaN',
  'console replaced': 'globalThis.console = null',
  'every global deleted':
    'const { deleteProperty } = Reflect; const scope = globalThis; for (const name of Object.getOwnPropertyNames(scope)) { if (name !== "__floraDispatch") deleteProperty(scope, name) }',
  'handlers spoofed': 'globalThis.__floraGuildId = "1"; globalThis.__floraHost = { op() { throw 1 } }',
}

const SCRIPT = (sabotage) => `
const send = rest.sendMessage
const { log } = console
on('ok', async () => {})
on('plain', () => {})
on('boom', async () => { throw 'boom' })
on('ask', async (ctx) => { const got = await ctx.reply('hi'); log(typeof got) })
on('fail', async (ctx) => { await ctx.reply('hi') })
on('batch', async () => {})
${sabotage}
`

for (const [name, sabotage] of Object.entries(SABOTAGE)) {
  test(`GIVEN ${name} WHEN events come THEN the protocol holds`, () => {
    const isolate = new Isolate()
    const loaded = isolate.load(SCRIPT(sabotage))
    assert.deepEqual(
      loaded.d.map((entry) => entry[1]),
      ['ok'],
      loaded.d[0]?.[2],
    )
    assert.equal(isolate.send({ c: [['extract']] }).x, 'ok')

    const first = isolate.events(['ok', {}], ['plain', {}], ['boom', {}])
    assert.deepEqual(
      first.d.map(([seq, outcome]) => [seq, outcome]),
      [
        [1, 'ok'],
        [2, 'ok'],
        [3, 'threw'],
      ],
    )
    assert.match(first.d[2][2], /boom/)

    const asked = isolate.event('ask', { id: '1', channelId: '2' })
    assert.equal(asked.o.length, 1)
    assert.deepEqual(asked.o[0].slice(0, 2), [1, 'op_send_message'])
    assert.ok(Array.isArray(asked.o[0][2]))
    const answered = isolate.answer([1, true, { id: '3' }])
    assert.equal(answered.d[0][0], 4)

    isolate.event('fail', { id: '1', channelId: '2' })
    const failed = isolate.answer([2, false, { message: 'refused', code: 'X' }])
    assert.deepEqual(failed.d[0].slice(0, 2), [5, 'threw'])

    const batch = isolate.events(...Array.from({ length: 60 }, () => ['batch', {}]))
    assert.equal(batch.d.length, 60)
    assert.ok(batch.d.every(([, outcome]) => outcome === 'ok'))
    assert.deepEqual([batch.s, batch.q, batch.p], [0, 0, 0])
  })
}

test('GIVEN hostile handler results WHEN awaited THEN each event still ends', () => {
  const isolate = new Isolate()
  isolate.loadAndExtract(`
    on('getter', () => ({ get then() { throw new Error('then getter') } }))
    on('thrower', () => ({ then() { throw new Error('then throws') } }))
    on('twice', () => ({ then(yes, no) { yes(); yes(); no(1); throw 2 } }))
    on('constructor', () => { const p = Promise.resolve(); Object.defineProperty(p, 'constructor', { get() { throw new Error('constructor') } }); return p })
    on('never', () => ({ then() {} }))
    on('foreign', () => Object.setPrototypeOf(Promise.resolve(), null))`)
  const outcomes = ['getter', 'thrower', 'twice', 'constructor', 'never', 'foreign'].map((event) =>
    isolate
      .event(event)
      .d.map((entry) => entry[1])
      .join(),
  )
  assert.deepEqual(outcomes, ['threw', 'threw', 'ok', 'threw', 'never', 'ok'])
})

test('GIVEN the context class WHEN a script tampers with it THEN only its own handlers suffer', () => {
  const isolate = new Isolate()
  isolate.loadAndExtract(`
    on('a', (ctx) => {
      const proto = Object.getPrototypeOf(ctx)
      for (const key of Object.getOwnPropertyNames(proto)) { try { Object.defineProperty(proto, key, { get() { throw new Error('mine') } }) } catch {} }
      Object.defineProperty(proto, 'reply', { set() { throw new Error('set') } })
    })
    on('b', (ctx) => ctx.reply('x'))`)
  isolate.event('a')
  assert.equal(isolate.event('b', { channelId: '1' }).o.length, 1)
})

test('GIVEN a getter that calls the API while an op is encoded WHEN it runs THEN both ops are whole', () => {
  const isolate = new Isolate()
  isolate.loadAndExtract(
    "on('a', () => rest.sendMessage({ get content() { console.log('inner'); rest.addReaction({ emoji: 'x' }); return 'outer' } }))",
  )
  const output = isolate.event('a')
  assert.deepEqual(
    output.o.map(([id, name]) => [id, name]),
    [
      [1, 'op_add_reaction'],
      [2, 'op_send_message'],
    ],
  )
  assert.equal(output.l.length, 1)
})

test('GIVEN recursion to the end of the stack WHEN ops are called there THEN the protocol stays whole', () => {
  const isolate = new Isolate()
  isolate.loadAndExtract(`
    on('deep', () => {
      const asked = new Array(1e5).fill(null)
      let n = 0
      const dive = () => { try { dive() } finally { asked[n++] = rest.sendMessage({}); console.log('x'); setTimeout(() => {}, 1) } }
      try { dive() } catch {}
      for (const promise of asked) promise?.catch(() => {})
    })
    on('ok', () => {})`)
  isolate.event('deep')
  assert.equal(isolate.event('ok').d.at(-1)[1], 'ok')
})

test('GIVEN a script WHEN it looks for the host THEN there is nothing to find', () => {
  const isolate = new Isolate()
  const found = isolate.run(`JSON.stringify([
    typeof __floraHost, typeof dispatch, typeof take, typeof boot, typeof WebAssembly, typeof SharedArrayBuffer, typeof FinalizationRegistry,
    typeof Atomics.waitAsync, typeof require, typeof process, typeof __timer_manager,
  ])`)
  assert.deepEqual(new Set(JSON.parse(found)), new Set(['undefined']))
})

test('GIVEN a stack inspector WHEN it looks at callers THEN no function of the prelude is handed out', () => {
  const isolate = new Isolate()
  isolate.loadAndExtract(`
    on('a', function () {
      Error.prepareStackTrace = (_, sites) => sites
      const found = new Error().stack.map((site) => [site.getFunction(), site.getThis()]).flat().filter((x) => x !== undefined && x !== globalThis)
      Error.prepareStackTrace = undefined
      console.log(found.length)
    })`)
  assert.deepEqual(isolate.event('a').l, [['info', '0']])
})

test('GIVEN a huge error WHEN thrown THEN its text is cut', () => {
  const isolate = new Isolate({ limits: { maxErrorChars: 100 } })
  isolate.loadAndExtract("on('a', () => { throw new Error('y'.repeat(1e6)) })")
  assert.match(isolate.event('a').d[0][2], /^Error: y{93}… \(\d+ more characters\)$/)
})
