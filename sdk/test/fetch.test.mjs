// fetch and what belongs to it: the classes beside Node's own, and the op with its answers.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Isolate } from './isolate.mjs'

const messages = (output) => output.l.map(([, text]) => text)
const plain = (value) => JSON.parse(JSON.stringify(value))
const reply = (more) => ({
  url: 'https://x.example/',
  status: 200,
  statusText: 'OK',
  headers: [],
  redirected: false,
  text: '',
  ...more,
})

/** Runs an async function body here and in an isolate; both print the same. */
async function same(body) {
  const isolate = new Isolate()
  const output = isolate.load(
    `try { console.log(JSON.stringify(await (async () => { ${body} })())) } catch (error) { console.log(error.name) }`,
  )
  const AsyncFunction = (async () => {}).constructor
  let expected
  try {
    expected = JSON.stringify(await new AsyncFunction(body)())
  } catch (error) {
    expected = error.name
  }
  assert.deepEqual(messages(output), [expected], body)
}

function start(body, boot = {}) {
  const isolate = new Isolate(boot)
  isolate.loadAndExtract(
    `on('go', async (ctx) => { try { console.log(await (async () => { ${body} })()) } catch (e) { console.log(e.name, e.code, e.message) } })`,
  )
  const output = isolate.event('go', { n: 1 })
  return { isolate, output, asked: output.o[0]?.[2][0] }
}

/** What the script prints once the host has answered. */
function answered(body, value) {
  const { isolate, output } = start(body)
  return messages(isolate.answer([output.o[0][0], true, value]))
}

test('GIVEN Headers WHEN used in every way THEN they behave as in Node', async () => {
  for (const body of [
    "const h = new Headers([['B', ' 2 '], ['a', '1'], ['b', '3']]); return [[...h], h.get('B'), h.has('x'), h.get('x')]",
    "const h = new Headers({ 'X-One': '1', two: 2 }); h.append('x-one', 'again'); h.set('TWO', 'new'); return [...h.entries()]",
    "const h = new Headers({ a: '1', b: '2' }); h.delete('A'); return [[...h.keys()], [...h.values()]]",
    "const h = new Headers([['Set-Cookie', 'a=1'], ['set-cookie', 'b=2'], ['z', '1']]); return [h.getSetCookie(), h.get('set-cookie'), [...h]]",
    "const h = new Headers({ a: '1' }); const copy = new Headers(h); copy.set('a', '2'); return [h.get('a'), copy.get('a')]",
    "const h = new Headers(new Map([['k', 'v']])); const seen = []; h.forEach((v, k, all) => seen.push(k, v, all === h)); return seen",
    "const h = new Headers([['a', '1'], ['b', '2'], ['a', '3'], ['c', '4']]); h.set('a', '9'); return [...h]",
    "new Headers({ 'a b': '1' })",
    "new Headers({ a: 'x\\ny' })",
    "new Headers({ a: '\\u0416' })",
    "new Headers([['a']])",
    "new Headers('x')",
    "new Headers().append('', '1')",
    "return new Headers({ a: '\\t x \\r\\n' }).get('a')",
    'return [...new Headers(undefined)]',
  ])
    await same(body)
})

test('GIVEN Response WHEN made by hand THEN it behaves as in Node', async () => {
  for (const body of [
    "const r = new Response('hé'); return [r.status, r.ok, r.statusText, r.url, r.type, r.redirected, [...r.headers], await r.text()]",
    "return await new Response(JSON.stringify({ a: [1, 'ü'] })).json()",
    "return [...(await new Response('€😀').bytes())]",
    "return [...new Uint8Array(await new Response(new Uint8Array([1, 2, 255]).subarray(1)).arrayBuffer())]",
    "const b = await new Response('abc', { headers: { 'content-type': 'text/X' } }).blob(); return [b.size, b.type, await b.text()]",
    "const r = new Response('x'); await r.text(); return r.bodyUsed",
    "const r = new Response('x'); await r.text(); await r.json()",
    "const r = new Response('x'); await r.text(); r.clone()",
    "const r = new Response('x'); const c = r.clone(); return [await r.text(), await c.text(), r.bodyUsed]",
    "const r = new Response(null); return [await r.text(), r.bodyUsed, await r.text()]",
    "return await new Response('\\ufeff{}').json()",
    "return await new Response(new Uint8Array([0xef, 0xbb, 0xbf, 0x41, 0xff])).text()",
    "return await new Response('not json').json()",
    "const r = Response.json({ a: 1 }, { status: 201 }); return [r.status, r.headers.get('content-type'), await r.json()]",
    'Response.json(undefined)',
    'const r = Response.error(); return [r.type, r.status, r.ok]',
    "const r = Response.redirect('https://x.example/a b', 307); return [r.status, r.headers.get('location')]",
    "Response.redirect('https://x.example/', 200)",
    "Response.redirect('nonsense')",
    "new Response('x', { status: 204 })",
    "return new Response(null, { status: 204 }).status",
    "new Response('x', { status: 199 })",
    "new Response('x', { status: 600 })",
    "new Response('x', { statusText: '\\n' })",
    "Response.error().headers.set('a', 'b')",
    "return new Response(new URLSearchParams({ a: 'b c' })).headers.get('content-type')",
    "const f = await new Response('a=1&b=%C3%BC', { headers: { 'content-type': 'application/x-www-form-urlencoded' } }).formData(); return [...f]",
    "await new Response('x').formData()",
  ])
    await same(body)
})

test('GIVEN Request WHEN made THEN it behaves as in Node', async () => {
  for (const body of [
    "const r = new Request('https://X.example:443/a/../b?c#d', { method: 'post', body: 'x' }); return [r.url, r.method, r.headers.get('content-type'), r.redirect, await r.text()]",
    "const r = new Request(new Request('https://x.example', { method: 'PUT', body: 'b', headers: { a: '1' } })); return [r.method, r.headers.get('a'), await r.text()]",
    "const a = new Request('https://x.example', { method: 'PUT', body: 'b' }); new Request(a); return a.bodyUsed",
    "const a = new Request('https://x.example', { method: 'PUT', body: 'b' }); const c = a.clone(); return [await a.text(), await c.text()]",
    "return new Request('https://x.example', { method: 'Odd' }).method",
    "return new Request('https://x.example', { signal: AbortSignal.abort() }).signal.aborted",
    "new Request('/relative')",
    "new Request('https://u:p@x.example')",
    "new Request('https://x.example', { body: 'x' })",
    "new Request('https://x.example', { method: 'CONNECT' })",
    "new Request('https://x.example', { method: 'a b' })",
    "new Request('https://x.example', { redirect: 'x' })",
    "new Request('https://x.example', { signal: {} })",
  ])
    await same(body)
})

test('GIVEN Blob, File and FormData WHEN used THEN they behave as in Node', async () => {
  for (const body of [
    "const b = new Blob(['a', new Uint8Array([98]), new Blob(['c'])], { type: 'Text/X' }); return [b.size, b.type, await b.text(), await b.slice(1, -1).text()]",
    "const b = new Blob(['abc']).slice(1, 2, 'a/b'); return [b.type, [...new Uint8Array(await b.arrayBuffer())]]",
    "const f = new File(['x'], 'n.txt', { type: 'a/b', lastModified: 5 }); return [f.name, f.size, f.type, f.lastModified, f instanceof Blob]",
    "const f = new FormData(); f.append('a', '1'); f.append('a', 2); f.set('b', 'x'); f.append('b', 'y'); f.set('b', 'z'); f.delete('none'); return [[...f], f.get('a'), f.getAll('a'), f.has('c'), f.get('c')]",
    "const f = new FormData(); f.append('a', new Blob(['x'], { type: 'q/r' })); const v = f.get('a'); return [v.name, v.type, await v.text(), v instanceof File]",
    "const f = new FormData(); f.append('a', new Blob(['x']), 'named'); return f.get('a').name",
    "new FormData().append('a', 'text', 'name')",
    "new FormData({})",
    "new Blob('text')",
    "const f = new FormData(); f.append('a\"\\n', 'line\\nline'); f.append('file', new File([new Uint8Array([0, 255, 13, 10])], 'ü\".bin', { type: 'x/y' })); f.append('empty', ''); const g = await new Response(f).formData(); const v = g.get('file'); return [[...g.keys()], g.get('a\"\\n'), g.get('empty'), v.name, v.type, [...new Uint8Array(await v.arrayBuffer())]]",
    "await new Response('--x\\r\\ncut off', { headers: { 'content-type': 'multipart/form-data; boundary=x' } }).formData()",
  ])
    await same(body)
})

test('GIVEN a fetch WHEN called THEN the host is asked for exactly that', () => {
  assert.deepEqual(plain(start("await fetch('https://x.example/a b')").asked), {
    url: 'https://x.example/a%20b',
    method: 'GET',
    redirect: 'follow',
    headers: [],
  })
  const { asked } = start(`await fetch(new URL('https://x.example'), {
    method: 'POST', redirect: 'manual', headers: { 'X-A': '1', cookie: 'c' }, body: JSON.stringify({ a: '\\ud800' }) })`)
  assert.deepEqual([asked.method, asked.redirect, asked.text], ['POST', 'manual', '{"a":"\\ud800"}'])
  assert.deepEqual(asked.headers, [
    ['content-type', 'text/plain;charset=UTF-8'],
    ['cookie', 'c'],
    ['x-a', '1'],
  ])
})

test('GIVEN bodies of every kind WHEN fetched THEN text crosses as text and bytes as Base64', () => {
  const sent = (body) => start(`await fetch('https://x.example', { method: 'POST', body: ${body} })`).asked
  assert.equal(sent("'\\ud800x'").text, '\ufffdx')
  assert.equal(sent("new URLSearchParams({ a: 'b c' })").text, 'a=b+c')
  assert.equal(sent('new Uint8Array([0, 255])').base64, 'AP8=')
  assert.equal(sent("new Blob(['ab'])").base64, 'YWI=')
  const form = sent("(() => { const f = new FormData(); f.append('a', '1'); return f })()")
  assert.match(form.text, /^------flora\w+\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n------flora\w+--\r\n$/)
  assert.equal(form.headers[0][1], 'multipart/form-data; boundary=' + form.text.slice(2, form.text.indexOf('\r')))
})

test('GIVEN an answer WHEN it comes THEN it is a Response with everything in it', () => {
  const body = `const r = await fetch('https://x.example')
    return JSON.stringify([r.status, r.ok, r.statusText, r.url, r.type, r.redirected, [...r.headers], r.headers.getSetCookie(), await r.json()])`
  const headers = [['b', '1'], ['set-cookie', 'x=y'], ['set-cookie', 'z'], ['b', '2']]
  const value = reply({ status: 404, statusText: 'No', redirected: true, headers, text: '{"a":1}' })
  assert.deepEqual(answered(body, value).map((text) => JSON.parse(text)), [
    [404, false, 'No', 'https://x.example/', 'basic', true, [['b', '1, 2'], ['set-cookie', 'x=y'], ['set-cookie', 'z']], ['x=y', 'z'], { a: 1 }],
  ])
  assert.deepEqual(
    answered("return [...(await (await fetch('https://x.example')).bytes())]", reply({ text: undefined, base64: 'AP8B' })),
    ['[0,255,1]'],
  )
  assert.match(answered("(await fetch('https://x.example')).headers.set('a', 'b')", reply())[0], /^TypeError/)
  assert.deepEqual(answered("return (await fetch('https://x.example')).text()", reply({ status: 204 })), [''])
})

test('GIVEN a fetch the host refuses WHEN awaited THEN it is a TypeError with a code and the line that asked', () => {
  const { isolate, output } = start("await fetch('https://x.example')")
  const failure = { name: 'TypeError', code: 'FETCH_BLOCKED', message: 'fetch failed: no' }
  assert.deepEqual(messages(isolate.answer([output.o[0][0], false, failure])), ['TypeError FETCH_BLOCKED fetch failed: no'])
  const thrown = new Isolate()
  thrown.loadAndExtract("on('go', async () => {\n  await fetch('https://x.example')\n})")
  const asked = thrown.event('go')
  assert.match(thrown.answer([asked.o[0][0], false, failure]).d[0][2], /bundle\.js:3/)
})

test('GIVEN a wrong call WHEN made THEN the promise rejects and the host hears nothing', () => {
  for (const call of ["fetch('relative')", "fetch('https://u:p@x.example')", "fetch('https://x.example', { body: 'x' })", 'fetch()']) {
    const { output } = start(`const p = ${call}; return p.then(() => 'no', (e) => e.name)`)
    assert.deepEqual([messages(output), output.o], [['TypeError'], []], call)
  }
})

test('GIVEN a signal WHEN it aborts THEN the fetch rejects, the host is told, and a late answer is ignored', () => {
  const { isolate, output } = start(`const c = new AbortController(); setTimeout(() => c.abort(), 100)
    return fetch('https://x.example', { signal: c.signal }).catch((e) => e.name)`)
  const id = output.o[0][0]
  isolate.nowMs += 150
  const aborted = isolate.send()
  assert.deepEqual([messages(aborted), aborted.k, aborted.p], [['AbortError'], [id], 0])
  assert.deepEqual(isolate.answer([id, true, reply()]).l, [])
})

test('GIVEN signals WHEN aborted before or after THEN nothing is asked, or nothing is taken back', () => {
  const early = start("return fetch('https://x.example', { signal: AbortSignal.abort('why') }).catch((e) => e)").output
  assert.deepEqual([messages(early), early.o], [['why'], []])
  const { isolate, output } = start(`globalThis.c = new AbortController()
    return (await fetch('https://x.example', { signal: c.signal })).status`)
  const late = isolate.answer([output.o[0][0], true, reply()])
  isolate.run('c.abort()')
  assert.deepEqual([messages(late), isolate.take().k], [['200'], []])
  const timeout = start("return fetch('https://x.example', { signal: AbortSignal.timeout(50) }).catch((e) => e.name)")
  timeout.isolate.nowMs += 80
  assert.deepEqual(messages(timeout.isolate.send()), ['TimeoutError'])
})

test('GIVEN a megabyte of text and of bytes WHEN put through the codecs THEN it survives', async () => {
  await same("const t = 'aé€😀'.repeat(100000); const r = new TextDecoder().decode(new TextEncoder().encode(t)); return r === t")
  await same("const b = new Uint8Array(1 << 20).map((_, i) => i * 7); return [...(await new Response(b).bytes())].every((v, i) => v === (i * 7 & 255))")
})
