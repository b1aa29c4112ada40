// The web APIs against those of Node, which follow the same standards.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Isolate } from './isolate.mjs'

const isolate = new Isolate()
const PARTS = [
  'href',
  'origin',
  'protocol',
  'username',
  'password',
  'host',
  'hostname',
  'port',
  'pathname',
  'search',
  'hash',
]

const partsOf = (Url, args) => {
  try {
    const url = new Url(...args)
    return Object.fromEntries(PARTS.map((part) => [part, url[part]]))
  } catch {
    return 'invalid'
  }
}

const URLS = [
  ['https://example.com'],
  ['HTTPS://User:Pa ss@EXAMPLE.com:443/a/../b/./c?x=1 2#f f'],
  ['http://example.com:8080/a%20b/ü?ü#ü'],
  ['../x?y#z', 'https://example.com/a/b/c?d#e'],
  ['//other.example/p', 'https://example.com/a'],
  ['/p', 'http://example.com:81/a?b'],
  ['?q=1', 'http://example.com/a?b#c'],
  ['#h', 'http://example.com/a?b#c'],
  ['', 'http://example.com/a?b#c'],
  ['x', 'mailto:a@b'],
  ['#x', 'mailto:a@b'],
  ['mailto:a@b.example'],
  ['data:text/plain,hello world'],
  ['file:///etc/hosts'],
  ['file://localhost/a'],
  ['custom://Host/Path/../x'],
  ['custom:/a//b'],
  ['http://[::1]:3000/'],
  ['http://[2001:DB8:0:0:1:0:0:1]/'],
  ['http://[::ffff:1.2.3.4]/'],
  ['http://[::g]/'],
  ['http://0x7f.1/'],
  ['http://2130706433/'],
  ['http://256.1.1.1/'],
  ['http://1.2.3.4.5/'],
  ['http://bücher.example/'],
  ['http://例え.テスト/'],
  ['http://ex%41mple.com/'],
  ['http://a b/'],
  ['http://'],
  ['http:///x.example/y'],
  ['http:\\\\x.example\\y'],
  ['http://x.example:99999/'],
  ['http://x.example:port/'],
  ['  https://x.example/\n\ta  '],
  ['not a url'],
  ['https://x.example/%2e%2e/%2E/a'],
  ['https://x.example/?it\'s<>"#`'],
  ['https://@x.example/'],
  ['https://a@b@x.example/'],
  ['ws://x.example:80/'],
  ['https:x', 'https://example.com/a/b'],
]

test('GIVEN many URLs WHEN parsed THEN every part is as in Node', () => {
  const mine = isolate.run('URL')
  for (const args of URLS) assert.deepEqual(partsOf(mine, args), partsOf(URL, args), args.join(' | '))
})

test('GIVEN a URL WHEN its parts are set THEN it reads as in Node', () => {
  const changes = [
    ['protocol', 'http'],
    ['protocol', 'custom'],
    ['host', 'other.example:81'],
    ['hostname', '[::1]'],
    ['port', '443'],
    ['port', ''],
    ['pathname', 'x y/../z'],
    ['search', 'a=b c'],
    ['search', ''],
    ['hash', 'new hash'],
    ['hash', ''],
    ['username', 'me@x'],
    ['password', 'p:w'],
  ]
  const mine = isolate.run('URL')
  for (const [part, value] of changes) {
    const results = [mine, URL].map((Url) => {
      const url = new Url('https://user@example.com:8443/a?b#c')
      url[part] = value
      return url.href
    })
    assert.equal(results[0], results[1], `${part} = ${value}`)
  }
})

test('GIVEN URLSearchParams WHEN changed THEN text and URL follow', () => {
  const run = (Url) => {
    const url = new Url('https://x.example/?b=2&a=1&b=3&c=%20+%C3%BC')
    const params = url.searchParams
    params.append('d', 'x y&z')
    params.set('b', '9')
    params.delete('a')
    params.sort()
    return [url.href, params.getAll('b'), params.get('c'), params.has('zz'), [...params.keys()], params.size]
  }
  assert.equal(JSON.stringify(run(isolate.run('URL'))), JSON.stringify(run(URL)))
  assert.equal(isolate.run("new URLSearchParams({ a: '1', b: 'x y' }).toString()"), 'a=1&b=x+y')
  assert.equal(isolate.run("new URLSearchParams([['a', '1'], ['a', '2']]).toString()"), 'a=1&a=2')
})

test('GIVEN texts WHEN encoded and decoded THEN the bytes are as in Node', () => {
  const Encoder = isolate.run('TextEncoder')
  const Decoder = isolate.run('TextDecoder')
  for (const text of ['', 'abc', 'ü', '€', '😀', 'a\u0000b', 'x\ud800y', '\ufeffbom']) {
    const bytes = new TextEncoder().encode(text)
    assert.deepEqual([...new Encoder().encode(text)], [...bytes])
    assert.equal(new Decoder().decode(bytes), new TextDecoder().decode(bytes))
  }
})

test('GIVEN broken UTF-8 WHEN decoded THEN the replacements are as in Node', () => {
  const Decoder = isolate.run('TextDecoder')
  const broken = [
    [0xff],
    [0xc3],
    [0xe2, 0x82],
    [0xe2, 0x82, 0x41],
    [0xf0, 0x9f, 0x98],
    [0xed, 0xa0, 0x80],
    [0xc0, 0x80],
    [0xf4, 0x90, 0x80, 0x80],
    [0xe0, 0x80, 0x80],
  ]
  for (const bytes of broken) {
    assert.equal(
      new Decoder().decode(Uint8Array.from(bytes)),
      new TextDecoder().decode(Uint8Array.from(bytes)),
      bytes.join(),
    )
    assert.throws(() => new Decoder('utf-8', { fatal: true }).decode(Uint8Array.from(bytes)), { name: 'TypeError' })
  }
  const stream = new Decoder()
  assert.equal(stream.decode(Uint8Array.of(0xe2, 0x82), { stream: true }) + stream.decode(Uint8Array.of(0xac)), '€')
})

test('GIVEN bytes WHEN put through btoa and atob THEN they come back', () => {
  const { btoa: mine, atob: back } = { btoa: isolate.run('btoa'), atob: isolate.run('atob') }
  for (const text of ['', 'a', 'ab', 'abc', 'abcd', '\u0000\u00ff']) {
    assert.equal(mine(text), btoa(text))
    assert.equal(back(mine(text)), text)
  }
  assert.equal(back(' YQ = = '), 'a')
  assert.throws(() => back('a'), { name: 'InvalidCharacterError' })
  assert.throws(() => mine('€'), { name: 'InvalidCharacterError' })
})

test('GIVEN a tangle of values WHEN cloned THEN the copy has the same shape and nothing in common', () => {
  const result = isolate.run(`
    const source = { date: new Date(5), list: [1, , 3], map: new Map([['k', new Set([1n])]]), bytes: Uint8Array.of(1, 2), re: /a/gi, e: new RangeError('r') }
    source.self = source
    const copy = structuredClone(source)
    JSON.stringify([
      copy !== source && copy.self === copy, copy.date.getTime(), copy.list.length, 1 in copy.list, copy.map.get('k').has(1n),
      copy.bytes.buffer !== source.bytes.buffer, [...copy.bytes], copy.re.flags, copy.e instanceof RangeError && copy.e.message,
    ])
  `)
  assert.deepEqual(JSON.parse(result), [true, 5, 3, false, true, true, [1, 2], 'gi', 'r'])
  assert.throws(() => isolate.run('structuredClone({ f() {} })'), { name: 'DataCloneError' })
})

test('GIVEN an AbortController WHEN aborted THEN its signal says so once', () => {
  const result = isolate.run(`
    const controller = new AbortController()
    let heard = 0
    controller.signal.addEventListener('abort', () => heard++)
    const any = AbortSignal.any([controller.signal, new AbortController().signal])
    controller.abort()
    controller.abort('again')
    JSON.stringify([heard, controller.signal.aborted, controller.signal.reason.name, any.aborted])
  `)
  assert.deepEqual(JSON.parse(result), [1, true, 'AbortError', true])
})

test('GIVEN the same entropy WHEN random values are drawn THEN they repeat, and differ for another', () => {
  const draw = (entropy) => new Isolate({ entropy }).run('crypto.randomUUID()')
  const one = draw('01'.repeat(32))
  assert.match(one, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  assert.equal(draw('01'.repeat(32)), one)
  assert.notEqual(draw('02'.repeat(32)), one)
})

test('GIVEN the lazily built globals WHEN looked at THEN they carry their own names', () => {
  for (const name of [
    'URL',
    'URLSearchParams',
    'TextEncoder',
    'TextDecoder',
    'AbortController',
    'AbortSignal',
    'Event',
    'EventTarget',
    'CustomEvent',
    'DOMException',
    'structuredClone',
    'atob',
    'btoa',
  ]) {
    assert.equal(isolate.run(`${name}.name`), name)
  }
})
