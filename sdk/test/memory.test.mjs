// Typed arrays and buffers are counted, and lengths that could never fit are refused; nothing else about them changes.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Isolate } from './isolate.mjs'

const MB = 1024 * 1024
const LIMIT = /^RangeError: out of buffer memory: .*, the limit is 1 MB of typed arrays and buffers/

const limited = () => new Isolate({ limits: { maxBufferBytes: MB, maxHeapBytes: 8 * MB } })

/** Ways to hold more than one megabyte, each in one expression that keeps what it makes in `kept`. */
const TOO_MUCH = {
  'one array': 'new Uint8Array(2e6)',
  'one array of wide elements': 'new Float64Array(2e5)',
  'one big integer array': 'new BigInt64Array(2e5)',
  'one buffer': 'new ArrayBuffer(2e6)',
  'a length given as text': 'new Uint8Array("2000000")',
  'a resizable buffer that is still empty': 'new ArrayBuffer(0, { maxByteLength: 2e6 })',
  'an option that changes its mind': 'let n = 0; new ArrayBuffer(0, { get maxByteLength() { return n++ ? 1 : 2e6 } })',
  'a length that changes its mind': 'let n = 0; new ArrayBuffer({ valueOf() { return n++ ? 1 : 2e6 } })',
  'many small arrays': 'while (true) kept.push(new Uint8Array(100))',
  'many tiny buffers': 'while (true) kept.push(new ArrayBuffer(1))',
  'a list': 'new Float64Array(new Array(2e5).fill(1))',
  'something like a list': 'new Float64Array({ length: 2e5 })',
  'a generator': 'new Float64Array((function* () { for (let i = 0; i < 2e5; i++) yield i })())',
  'a widening copy': 'new Float64Array(new Uint8Array(5e5))',
  'a list with an iterator of its own':
    'const list = []; list[Symbol.iterator] = function* () { for (let i = 0; i < 2e5; i++) yield i }; new Float64Array(list)',
  from: 'Uint8Array.from({ length: 2e6 })',
  of: 'while (true) kept.push(Uint8Array.of(...new Array(1000)))',
  'a subclass': 'class Mine extends Uint8Array {}; new Mine(2e6)',
  'Reflect.construct': 'Reflect.construct(Uint8Array, [2e6], Object)',
  'the constructor of the prototype': 'new (Object.getPrototypeOf(new Uint8Array(1)).constructor)(2e6)',
  'the constructor of a buffer': 'new (new Uint8Array(1).buffer.constructor)(2e6)',
  'a species': 'new (new Uint8Array(1).constructor[Symbol.species])(2e6)',
  'the species of a buffer': 'new (ArrayBuffer[Symbol.species])(2e6)',
  slices: 'const a = new Uint8Array(3e5); while (true) kept.push(a.slice())',
  'slices without a constructor': 'const a = new Uint8Array(3e5); a.constructor = undefined; while (true) kept.push(a.slice())',
  'slices of a buffer': 'const b = new ArrayBuffer(3e5); while (true) kept.push(b.slice(0))',
  'slices of a buffer without a constructor':
    'const b = new ArrayBuffer(3e5); b.constructor = undefined; while (true) kept.push(b.slice(0))',
  maps: 'const a = new Uint8Array(3e5); while (true) kept.push(a.map((x) => x))',
  'maps without a constructor that make others meanwhile':
    'const a = new Uint8Array(3e5); a.constructor = undefined; while (true) kept.push(a.map((x, i) => (i ? x : new Uint8Array(100)[0])))',
  filters: 'const a = new Uint8Array(3e5); while (true) kept.push(a.filter(() => true))',
  'sorted copies': 'const a = new Uint8Array(3e5); while (true) kept.push(a.toSorted())',
  'reversed copies': 'const a = new Uint8Array(3e5); while (true) kept.push(a.toReversed())',
  'copies with one change': 'const a = new Uint8Array(3e5); while (true) kept.push(a.with(0, 1))',
  structuredClone: 'const a = new Uint8Array(3e5); while (true) kept.push(structuredClone(a))',
  TextEncoder: 'const e = new TextEncoder(); while (true) kept.push(e.encode("x".repeat(1e5)))',
}

for (const [what, code] of Object.entries(TOO_MUCH)) {
  test(`GIVEN ${what} WHEN it would pass the limit THEN it is refused with the limit's name`, () => {
    const isolate = limited()
    isolate.loadAndExtract(`const kept = []; on('a', () => { ${code} })`)
    const [, outcome, text] = isolate.event('a').d[0]
    assert.equal(outcome, 'threw')
    assert.match(text, LIMIT)
  })
}

test('GIVEN every kind of typed array WHEN counted ones are compared with plain V8 THEN a script sees no difference', () => {
  const isolate = new Isolate()
  isolate.loadAndExtract(`on('a', () => {
    const wrong = []
    const check = (what, ok) => { if (!ok) wrong.push(what) }
    const names = ['Int8Array', 'Uint8Array', 'Uint8ClampedArray', 'Int16Array', 'Uint16Array', 'Int32Array', 'Uint32Array', 'Float32Array', 'Float64Array', 'BigInt64Array', 'BigUint64Array']
    const Abstract = Object.getPrototypeOf(Uint8Array)
    for (const name of names) {
      const C = globalThis[name], big = name.startsWith('Big'), one = big ? 1n : 1
      check(name + ' name', C.name === name && C.length === 3)
      check(name + ' parent', Object.getPrototypeOf(C) === Abstract && Abstract.name === 'TypedArray')
      check(name + ' constructor', C.prototype.constructor === C && new C(2).constructor === C && new C(200).constructor === C)
      check(name + ' size', C.BYTES_PER_ELEMENT === C.prototype.BYTES_PER_ELEMENT && C.BYTES_PER_ELEMENT >= 1)
      check(name + ' instanceof', new C(3) instanceof C && new C(300) instanceof Abstract)
      check(name + ' list', new C([one, one, one]).join() === '1,1,1')
      check(name + ' set', new C(new Set([one])).length === 1)
      check(name + ' like a list', new C({ length: 2, 0: one, 1: one }).join() === '1,1')
      check(name + ' copy', new C(new C(100).fill(one)).at(99) === one)
      const buffer = new ArrayBuffer(1024)
      check(name + ' view', new C(buffer, 16, 8).buffer === buffer && new C(buffer, 16, 8).byteOffset === 16 && new C(buffer, 16, 8).length === 8)
      check(name + ' from, of', C.from([one, one]).length === 2 && C.of(one).constructor === C)
      check(name + ' subarray', new C(100).subarray(1, 3).constructor === C)
      class Mine extends C { twice() { return this.length * 2 } }
      check(name + ' subclass', new Mine(100).twice() === 200 && new Mine(100).slice(0, 50) instanceof Mine && Mine.from([one]) instanceof Mine)
      for (const bad of [() => C(1), () => new C(-1), () => new C(buffer, 1000000), () => new C(Symbol())]) {
        try { bad(); check(name + ' throws', false) } catch (error) { check(name + ' error', error instanceof TypeError || error instanceof RangeError) }
      }
      check(name + ' keys', Object.keys(C).length === 0 && Object.getOwnPropertyDescriptor(C, 'prototype').writable === false)
    }
    check('buffer', new ArrayBuffer(8).byteLength === 8 && ArrayBuffer.isView(new DataView(new ArrayBuffer(8))) && ArrayBuffer.length === 1)
    check('buffer slice', new ArrayBuffer(100).slice(10, 20).byteLength === 10)
    const growing = new ArrayBuffer(8, { maxByteLength: 64 }); growing.resize(32)
    check('resize', growing.byteLength === 32 && growing.resizable && growing.maxByteLength === 64)
    check('tag', Object.prototype.toString.call(new Uint8Array(100)) === '[object Uint8Array]' && String(ArrayBuffer).startsWith('function'))
    check('methods', new Uint8Array([3, 1, 2]).toSorted().join() === '1,2,3' && new Uint8Array([3, 1]).map((x) => x * 2).join() === '6,2')
    console.log(wrong.join('; '))
  })`)
  const { d, l } = isolate.event('a')
  assert.deepEqual([d[0][2], l], [null, [['info', '']]])
})

test('GIVEN allocations WHEN they change noticeably THEN take says how much is held', () => {
  const isolate = limited()
  isolate.loadAndExtract(`let kept; on('a', () => { kept = new Uint8Array(5e5) }); on('b', () => { new Uint8Array(100) })`)
  isolate.call('dispatch', JSON.stringify({ t: isolate.nowMs, e: [[1, 'a', {}]] }))
  const said = JSON.parse(isolate.call('take')).b
  assert.ok(said > 5e5 && said < 5.01e5, String(said))
  isolate.call('dispatch', JSON.stringify({ t: isolate.nowMs, e: [[2, 'b', {}]] }))
  assert.equal(JSON.parse(isolate.call('take')).b, undefined)
})

/** Each would make V8 work for seconds, or end the process. */
const TOO_LONG = {
  repeat: '"x".repeat(9e6)',
  padStart: '"x".padStart(9e6)',
  padEnd: '"x".padEnd(9e6, "ab")',
  split: '"x".repeat(2e6).split("")',
  'split of a text too long for anything': 'let t = "x"; while (t.length < 9e6) t += t; t.split(",")',
  replaceAll: 'let t = "x"; while (t.length < 9e6) t += t; t.replaceAll("x", "y")',
  normalize: 'let t = "x"; while (t.length < 9e6) t += t; t.normalize()',
  fill: 'new Array(2 ** 27).fill(1.5)',
  'Array.from': 'Array.from({ length: 2 ** 27 })',
  sort: 'new Array(2 ** 27).sort()',
  toSorted: 'new Array(2 ** 27).toSorted()',
  with: 'new Array(2 ** 27).with(0, 1)',
}

for (const [what, code] of Object.entries(TOO_LONG)) {
  test(`GIVEN ${what} over the heap limit WHEN called THEN it is a RangeError that names the limit`, () => {
    const isolate = limited()
    isolate.loadAndExtract(`on('a', () => { ${code} })`)
    const [, outcome, text] = isolate.event('a').d[0]
    assert.equal(outcome, 'threw')
    assert.match(text, /^RangeError: .* cannot fit into the heap limit of 8 MB/)
  })
}

test('GIVEN guarded methods WHEN used as usual THEN they do as before', () => {
  const isolate = new Isolate()
  isolate.loadAndExtract(`on('a', () => {
    const wrong = []
    const same = (what, got, want) => { if (JSON.stringify(got) !== JSON.stringify(want)) wrong.push(what + ': ' + JSON.stringify(got)) }
    same('repeat', ['ab'.repeat(2), ''.repeat(3), String.prototype.repeat.call(7, 2)], ['abab', '', '77'])
    same('pad', ['a'.padStart(3), 'a'.padEnd(3, '-'), 'a'.padStart(), 'a'.padStart(4, 'bc')], ['  a', 'a--', 'a', 'bcba'])
    same('split', ['a,b'.split(','), 'abc'.split(''), 'a,b,c'.split(',', 2), 'abc'.split(), 'a1b'.split(/\\d/)], [['a', 'b'], ['a', 'b', 'c'], ['a', 'b'], ['abc'], ['a', 'b']])
    same('replace', ['aa'.replace('a', 'b'), 'aa'.replace(/a/g, (x) => x + 1), 'aa'.replaceAll('a', 'b'), 'undefined'.replace()], ['ba', 'a1a1', 'bb', 'undefined'])
    same('match', ['a1'.match(/\\d/)[0], 'a'.match(/b/)], ['1', null])
    same('normalize', ['a\\u0301'.normalize().length, 'á'.normalize('NFD').length], [1, 2])
    same('fill', [[1, 2, 3].fill(0), [1, 2, 3].fill(0, 1), new Array(2).fill()], [[0, 0, 0], [1, 0, 0], [null, null]])
    same('sort', [[3, 1, 2].sort(), [3, 1, 2].sort((a, b) => b - a), [1, 2].reverse(), [1, 2].toReversed()], [[1, 2, 3], [3, 2, 1], [2, 1], [2, 1]])
    same('others', [[[1], [2]].flat(), [1, 2, 3].with(0, 9), [1, 2, 3].toSpliced(0, 1), [1, 2, 3].copyWithin(0, 1)], [[1, 2], [9, 2, 3], [2, 3], [2, 3, 3]])
    const list = [2]; same('unshift', [list.unshift(0, 1), list], [3, [0, 1, 2]])
    same('from', [Array.from('ab'), Array.from([1], (x) => x + 1), Array.from({ length: 2 }, (_, i) => i), Array.from(new Set([1]))], [['a', 'b'], [2], [0, 1], [1]])
    class Mine extends Array {}
    same('from of a subclass', Mine.from([1]) instanceof Mine, true)
    same('names', ['a'.repeat.name, 'a'.repeat.length, [].fill.name, [].fill.length, Array.from.name, Array.from.length, [].unshift.length], ['repeat', 1, 'fill', 1, 'from', 1, 1])
    for (const bad of [() => 'a'.repeat(-1), () => String.prototype.repeat.call(null, 1), () => new ([].fill)(), () => 'a'.replaceAll(/a/, '')]) {
      try { bad(); wrong.push(String(bad)) } catch {}
    }
    console.log(wrong.join('; '))
  })`)
  const { d, l } = isolate.event('a')
  assert.deepEqual([d[0][2], l], [null, [['info', '']]])
})
