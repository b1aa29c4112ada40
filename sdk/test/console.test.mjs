// What `console` writes into the guild's log.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Isolate } from './isolate.mjs'

const lines = (source, boot) => new Isolate(boot).load(source).l
const line = (args) => lines(`console.log(${args})`)[0][1]

test('GIVEN strings and values WHEN logged THEN strings stay and the rest is compact JSON', () => {
  assert.deepEqual(lines('console.log("a", { b: 1 }, 2)'), [['info', 'a {"b":1} 2']])
  assert.equal(line('"%s", null, true, [1, , "x"], { u: undefined, n: null }'), '%s null true [1,null,"x"] {"n":null}')
  assert.equal(line('new Date(0), new Map([["k", 1]]), new Set(["v"])'), '"1970-01-01T00:00:00.000Z" {"k":1} ["v"]')
  assert.equal(line(''), '')
})

test('GIVEN what JSON cannot say WHEN logged THEN it is said anyway', () => {
  assert.equal(
    line('undefined, 5n, Symbol("s"), NaN, () => {}, function named() {}'),
    'undefined 5n Symbol(s) NaN [Function] [Function named]',
  )
  assert.equal(
    line('{ a: 5n, b: Symbol("s"), c() {}, d: new Error("e"), n: NaN }'),
    '{"a":5n,"b":"Symbol(s)","c":"[Function c]","d":"Error: e","n":NaN}',
  )
  assert.match(line('new TypeError("bad")'), /^TypeError: bad\n {4}at /)
})

test('GIVEN hostile values WHEN logged THEN the line is bounded and nothing throws', () => {
  assert.equal(line('(() => { const a = { x: 1 }; a.self = a; return a })()'), '{"x":1,"self":"[Circular]"}')
  assert.equal(line('{ get a() { throw 1 }, b: 2 }'), '{"a":"[getter threw]","b":2}')
  assert.equal(line('new Proxy({}, { ownKeys() { throw 1 } })'), '[cannot be shown]')
  assert.match(line('{ toJSON() { return { toJSON: this.toJSON } } }'), /\[…\]/)
  assert.equal(line('{ toJSON() { return this } }'), '[Circular]')
  assert.equal(line('{ toJSON() { throw 1 } }'), '[cannot be shown]')
  assert.match(line('Array.from({ length: 1e6 }, (_, i) => i)'), /… \(line cut, \d+ more characters\)$/)
  assert.match(line('(() => { let a = {}; for (let i = 0; i < 1e5; i++) a = { a }; return a })()'), /\[…\]/)
  assert.equal(line('Object.create(null, { a: { value: 1, enumerable: true } })'), '{"a":1}')
})

test('GIVEN a line over the limit WHEN logged THEN it is cut with a notice', () => {
  assert.deepEqual(lines('console.log("x".repeat(30))', { limits: { maxLogChars: 10 } }), [
    ['info', 'xxxxxxxxxx… (line cut, 20 more characters)'],
  ])
})

test('GIVEN too many lines in one turn WHEN logged THEN the rest is counted', () => {
  const output = lines('for (let i = 0; i < 25; i++) console.log(i)', { limits: { maxLogLines: 10 } })
  assert.equal(output.length, 11)
  assert.deepEqual(output.at(-1), ['warn', 'console: 15 more lines dropped'])
})

test('GIVEN every method WHEN called THEN the level is right', () => {
  const output = lines(`
    console.info('i'); console.debug('d'); console.warn('w'); console.error('e')
    console.assert(true, 'no'); console.assert(false, 'why', 1); console.assert(false)
    console.dir({ a: 1 }); console.table([{ a: 1 }, { a: 2 }]); console.table(5)
    console.count(); console.count(); console.countReset(); console.count(); console.count('x')
    console.group('g'); console.log('in'); console.groupEnd(); console.groupEnd(); console.log('out'); console.clear()`)
  assert.deepEqual(output, [
    ['info', 'i'],
    ['debug', 'd'],
    ['warn', 'w'],
    ['error', 'e'],
    ['error', 'Assertion failed: why 1'],
    ['error', 'Assertion failed'],
    ['info', '{"a":1}'],
    ['info', '0 {"a":1}'],
    ['info', '1 {"a":2}'],
    ['info', '5'],
    ['info', 'default: 1'],
    ['info', 'default: 2'],
    ['info', 'default: 1'],
    ['info', 'x: 1'],
    ['info', 'g'],
    ['info', '  in'],
    ['info', 'out'],
  ])
})

test('GIVEN trace and timers WHEN called THEN they show frames and milliseconds', () => {
  const output = lines(
    "console.trace('here', 1); console.time('t'); console.timeLog('t', 'x'); console.timeEnd('t'); console.timeEnd('t')",
  )
  assert.equal(output[0][0], 'trace')
  assert.match(output[0][1], /^Trace: here 1\n(.|\n)*bundle\.js/)
  assert.match(output[1][1], /^t: \d+ ms x$/)
  assert.match(output[2][1], /^t: \d+ ms$/)
  assert.equal(output.length, 3)
})
