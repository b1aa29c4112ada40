// Events through the protocol: order, overlap, gates, outcomes, ending one event without the others.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Isolate } from './isolate.mjs'

const withScript = (source, boot) => {
  const isolate = new Isolate(boot)
  const loaded = isolate.loadAndExtract(source)
  assert.equal(loaded.d[0]?.[1], 'ok', loaded.d[0]?.[2])
  return isolate
}
const outcomes = (output) => output.d.map(([seq, outcome]) => [seq, outcome])
const messages = (output) => output.l.map(([, message]) => message)

test('GIVEN the first example WHEN a message arrives THEN it is answered', () => {
  const isolate = withScript("on('messageCreate', async (msg) => { await msg.reply('Hello!') })")
  const asked = isolate.event('messageCreate', { id: '1', channelId: '2', content: 'hi' })
  assert.deepEqual(asked.o, [[1, 'op_send_message', [{ content: 'Hello!', messageId: '1', channelId: '2' }]]])
  assert.deepEqual([asked.s, asked.p, asked.d], [1, 1, []])
  assert.deepEqual(outcomes(isolate.answer([1, true, { id: '3' }])), [[1, 'ok']])
})

test('GIVEN events that ask for something WHEN asked THEN it is told on whose behalf, where that changes', () => {
  const isolate = withScript(`
    on('a', async (msg) => { await msg.reply('x'); await msg.reply('y') })`)
  const payload = { id: '1', channelId: '2' }
  const first = isolate.events(['a', payload], ['a', payload])
  assert.deepEqual(first.w, [1, 1, 2, 2])
  const second = isolate.answer([2, true, {}])
  assert.deepEqual([second.o.length, second.w], [1, []])
})

test('GIVEN 100 events that wait for nothing WHEN sent together THEN one take reports all, in order', () => {
  const isolate = withScript("on('a', async (ctx) => { console.log(ctx.msg.n) })")
  const output = isolate.events(...Array.from({ length: 100 }, (_, n) => ['a', { n }]))
  assert.equal(output.turns, 1)
  assert.deepEqual(
    outcomes(output),
    Array.from({ length: 100 }, (_, n) => [n + 1, 'ok']),
  )
  assert.deepEqual(
    messages(output),
    Array.from({ length: 100 }, (_, n) => String(n)),
  )
})

test('GIVEN 20000 events with plain handlers WHEN sent together THEN the stack holds', () => {
  const isolate = withScript("on('a', () => {})")
  assert.equal(isolate.events(...Array.from({ length: 20000 }, () => ['a', null])).d.length, 20000)
})

test('GIVEN several handlers WHEN one throws THEN the later ones are not called and the text has the stack', () => {
  const isolate = withScript(
    "on('a', () => console.log('one'))\non('a', async () => { throw new Error('broken') })\non('a', () => console.log('three'))",
  )
  const output = isolate.event('a')
  assert.deepEqual(messages(output), ['one'])
  assert.equal(output.d[0][1], 'threw')
  assert.match(output.d[0][2], /^Error: broken\n {4}at file:\/\/\/guild\/42\/bundle\.js:3:/)
})

test('GIVEN something thrown that is no Error WHEN reported THEN it can be read', () => {
  const isolate = withScript(`
    on('text', () => { throw 'plain' })
    on('object', () => Promise.reject({ code: 5 }))
    on('nothing', () => Promise.reject())
    on('cause', () => { throw new Error('outer', { cause: new TypeError('inner') }) })
    on('hostile', () => { throw { toJSON() { throw 1 }, get stack() { throw 2 } } })
    on('proxy', () => { throw new Proxy({}, { get() { throw 3 }, getPrototypeOf() { throw 4 }, ownKeys() { throw 5 } }) })`)
  const text = (event) => isolate.event(event).d[0][2]
  assert.equal(text('text'), 'Uncaught (in promise) plain')
  assert.equal(text('object'), 'Uncaught (in promise) {"code":5}')
  assert.equal(text('nothing'), 'Uncaught (in promise) undefined')
  assert.match(text('cause'), /^Error: outer\n(.|\n)*\nCaused by: TypeError: inner\n/)
  assert.equal(text('hostile'), 'Uncaught (in promise) [cannot be shown]')
  assert.match(text('proxy'), /cannot be shown/)
})

test('GIVEN no handler for an event WHEN it arrives THEN that is a success', () => {
  assert.deepEqual(outcomes(withScript('').event('messageCreate')), [[1, 'ok']])
})

test('GIVEN a handler that waits for nobody WHEN the isolate is idle THEN it fails at once', () => {
  const isolate = withScript("on('a', () => new Promise(() => {}))\non('b', () => console.log('b'))")
  const output = isolate.events(['a'], ['b'])
  assert.deepEqual(outcomes(output), [
    [2, 'ok'],
    [1, 'never'],
  ])
  assert.equal(output.d[1][2], 'Promise resolution is still pending but the event loop has already resolved')
})

test('GIVEN a handler that waits for a later event WHEN that is already queued THEN it is no failure', () => {
  const isolate = withScript("let go\non('a', () => new Promise((resolve) => { go = resolve }))\non('b', () => go())")
  assert.deepEqual(outcomes(isolate.events(['a'], ['b'])), [
    [2, 'ok'],
    [1, 'ok'],
  ])
})

test('GIVEN handlers that wait for Discord WHEN more events are queued THEN they overlap up to the limit', () => {
  const isolate = withScript("on('a', async (ctx) => { await rest.sendMessage({ n: ctx.msg.n }) })", { overlap: 3 })
  const first = isolate.events(...Array.from({ length: 5 }, (_, n) => ['a', { n }]))
  assert.deepEqual([first.o.length, first.s, first.q], [3, 3, 2])
  const second = isolate.answer([2, true, null])
  assert.deepEqual(outcomes(second), [[2, 'ok']])
  assert.deepEqual(
    second.o.map(([id]) => id),
    [4],
  )
})

test('GIVEN a script that asks for one event at a time WHEN events wait THEN none overlap', () => {
  const isolate = withScript("createBot({ overlap: 1 })\non('a', () => rest.sendMessage({}))")
  assert.deepEqual(isolate.events(['a'], ['a']).o.length, 1)
  assert.equal(isolate.answer([1, true, null]).o.length, 1)
})

test('GIVEN read, change, write on KV WHEN many events come THEN no update is lost', () => {
  const isolate = withScript(`
    const counters = store('c')
    on('a', async () => {
      await rest.sendMessage({})
      const value = Number(await counters.get('n'))
      await null
      await (async () => { await null })()
      await counters.set('n', value + 1)
    })`)
  let value = '0'
  let output = isolate.events(...Array.from({ length: 10 }, () => ['a']))
  const done = []
  while (output.o.length > 0 || done.length < 10) {
    const discord = output.o.filter(([, name]) => name === 'op_send_message').map(([id]) => [id, true, null])
    const kv = output.o
      .filter(([, name]) => name.startsWith('op_kv'))
      .map(([id, name, args]) => {
        if (name === 'op_kv_set') value = args[2]
        return [id, true, name === 'op_kv_get' ? value : null]
      })
    output = isolate.answer(...discord, ...kv)
    done.push(...output.d)
  }
  assert.equal(value, '10')
})

test('GIVEN an unanswered KV op WHEN answers, timers and events come THEN nothing moves until it is answered', () => {
  const isolate = withScript(`
    on('kv', async () => { await kv.store('s').get('k'); console.log('kv') })
    on('rest', async () => { await rest.sendMessage({}); console.log('rest') })
    on('plain', () => console.log('plain'))
    setTimeout(() => console.log('timer'), 5)`)
  const asked = isolate.events(['rest'], ['kv'], ['plain'])
  assert.deepEqual(
    asked.o.map(([, name]) => name),
    ['op_send_message', 'op_kv_get'],
  )
  isolate.nowMs += 10
  assert.deepEqual(messages(isolate.answer([1, true, null])), [])
  assert.deepEqual(messages(isolate.answer([2, true, null])), ['kv', 'rest', 'timer', 'plain'])
})

test('GIVEN answers and a new event in one message WHEN the newest event ends first THEN all answers still come before the new one', () => {
  const isolate = withScript(
    "on('a', async (ctx) => { await rest.sendMessage({}); console.log(ctx.msg.n) })\non('b', () => console.log('b'))",
  )
  isolate.events(['a', { n: 1 }], ['a', { n: 2 }])
  const output = isolate.send({
    r: [
      [2, true, null],
      [1, true, null],
    ],
    e: [[3, 'b', {}]],
  })
  assert.deepEqual(messages(output), ['2', '1', 'b'])
})

test('GIVEN an op that fails WHEN caught THEN it is an Error with its code and the line that asked', () => {
  const isolate = withScript(`
on('a', async () => {
  await rest.sendMessage({}).catch((error) => {
    console.log(error instanceof Error, error.message, error.code, error.discord_code)
    throw error
  })
})`)
  isolate.event('a')
  const output = isolate.answer([
    1,
    false,
    { message: 'no such channel', code: 'DISCORD_HTTP_ERROR', discord_code: 10003 },
  ])
  assert.deepEqual(messages(output), ['true no such channel DISCORD_HTTP_ERROR 10003'])
  assert.match(output.d[0][2], /^Error: no such channel\n(.|\n)*bundle\.js:4:/)
})

test('GIVEN arguments that JSON cannot say WHEN an op is called THEN it rejects and the handler may go on', () => {
  const isolate = withScript(`on('a', async () => {
    const circle = {}; circle.self = circle
    for (const bad of [circle, { id: 10n ** 30n }]) await rest.sendMessage(bad).catch((error) => console.log(error.name))
    await rest.sendMessage({ n: 5n })
  })`)
  const output = isolate.event('a')
  assert.deepEqual(messages(output), ['TypeError', 'TypeError'])
  assert.deepEqual(output.o, [[1, 'op_send_message', [{ n: 5 }]]])
})

test('GIVEN a started event WHEN killed THEN it neither completes nor acts, and the others go on', () => {
  const isolate = withScript(`
    on('slow', async (ctx) => {
      await new Promise((resolve) => setTimeout(resolve, 100))
      console.log('late')
      await ctx.reply('late')
    })
    on('ask', async (ctx) => { await rest.sendMessage({}); console.log('answered'); await ctx.reply('done') })`)
  isolate.events(['slow', { id: '1', channelId: '2' }], ['ask', { id: '3', channelId: '4' }], ['ask', {}])
  const killed = isolate.send({ c: [['kill', 1, 3]] })
  assert.deepEqual([killed.s, killed.p, killed.n], [1, 1, null])
  assert.deepEqual(killed.k, [2])
  isolate.nowMs += 1000
  const output = isolate.answer([1, true, null], [2, true, null])
  assert.deepEqual(messages(output), ['answered'])
  assert.deepEqual(
    output.o.map(([, , args]) => args[0].content),
    ['done'],
  )
})

test('GIVEN a killed event that another wakes WHEN it replies THEN nothing is sent', () => {
  const isolate = withScript(`
    let wake
    on('sleeper', async (ctx) => { await new Promise((resolve) => { wake = resolve; setTimeout(resolve, 1e6) }); ctx.reply('no') })
    on('sleeper', () => console.log('the next handler'))
    on('waker', () => wake())`)
  isolate.event('sleeper', { id: '1', channelId: '2' })
  isolate.send({ c: [['kill', 1]] })
  const output = isolate.event('waker')
  assert.deepEqual([output.o, output.l, outcomes(output)], [[], [], [[2, 'ok']]])
})

test('GIVEN queued events WHEN dropped THEN only the others run', () => {
  const isolate = withScript("on('a', (ctx) => rest.sendMessage({ n: ctx.msg.n }))", { overlap: 1 })
  isolate.events(['a', { n: 1 }], ['a', { n: 2 }], ['a', { n: 3 }], ['a', { n: 4 }])
  assert.equal(isolate.send({ c: [['drop', 2, 4]] }).q, 1)
  const output = isolate.answer([1, true, null])
  assert.deepEqual(output.o[0][2], [{ n: 3 }])
  assert.equal(isolate.event('a', { n: 5 }).q, 1)
})

test('GIVEN a handler added while its event runs WHEN the event goes on THEN it is called too', () => {
  const isolate = withScript("on('a', () => { on('a', () => console.log('added')) })")
  assert.deepEqual(messages(isolate.event('a')), ['added'])
})

test('GIVEN a script that replaced the dispatcher WHEN events come THEN they reach the replacement', () => {
  const isolate = new Isolate()
  const loaded = isolate.loadAndExtract(
    'globalThis.__floraDispatch = (event, payload) => { console.log(event, payload); return 5 }',
  )
  assert.deepEqual([loaded.x, loaded.h], ['ok', ['*']])
  const output = isolate.event('messageCreate', { id: '1' })
  assert.deepEqual(messages(output), ['messageCreate {"id":"1"}'])
  assert.deepEqual(outcomes(output), [[1, 'nonpromise']])
  assert.deepEqual(isolate.event('__cron:x', {}, { cron: true }).d[0].slice(1, 3), [
    'nonpromise',
    'Dispatch did not return a promise',
  ])
})

test('GIVEN a replaced dispatcher that is gone or no function WHEN extracted THEN that is said', () => {
  assert.equal(new Isolate().loadAndExtract('delete globalThis.__floraDispatch').x, 'Dispatch function missing')
  assert.equal(new Isolate().loadAndExtract('__floraDispatch = 5').x, 'Dispatch symbol is not a function')
  assert.equal(
    new Isolate().loadAndExtract("Object.defineProperty(globalThis, '__floraDispatch', { get() { throw 1 } })").x,
    'Dispatch function missing',
  )
})

test('GIVEN a wrapper around the own dispatcher WHEN events come THEN both run', () => {
  const isolate = withScript(`
    on('a', async (ctx) => { await ctx.reply('x'); console.log('handler') })
    const inner = __floraDispatch
    globalThis.__floraDispatch = async (event, payload) => { console.log('before'); await inner(event, payload) }`)
  isolate.event('a', { channelId: '1' })
  const output = isolate.answer([1, true, null])
  assert.deepEqual(messages(output), ['handler'])
  assert.deepEqual(outcomes(output), [[1, 'ok']])
})

test('GIVEN handlers put into __floraHandlers WHEN extracted THEN the host learns of them', () => {
  assert.deepEqual(new Isolate().loadAndExtract('__floraHandlers.mine = [() => {}]').h, ['mine'])
})

test('GIVEN a cron run WHEN its handler leaves an op behind THEN it completes only after the answer', () => {
  const isolate = withScript(
    "cron('job', '* * * * *', (ctx) => { rest.sendMessage({}); console.log(ctx.name, ctx.scheduledAt === ctx.msg.scheduledAt) })",
  )
  const output = isolate.event('__cron:job', { name: 'job', scheduledAt: '2026-01-01T00:00:00+00:00' }, { cron: true })
  assert.deepEqual([messages(output), output.d, output.s], [['job true'], [], 1])
  assert.deepEqual(outcomes(isolate.answer([1, true, null])), [[1, 'ok']])
})

test('GIVEN a cron handler that hangs WHEN the isolate is idle THEN the run is a success', () => {
  const isolate = withScript("cron('job', '* * * * *', () => new Promise(() => {}))")
  assert.deepEqual(outcomes(isolate.event('__cron:job', {}, { cron: true })), [[1, 'ok']])
})

test('GIVEN progress memory WHEN events start and finish THEN the cells say which', () => {
  const isolate = withScript("on('a', () => rest.sendMessage({}))", { progressOffset: 64 })
  const cells = new Float64Array(isolate.host.progress, 64, 6)
  isolate.events(['a'], ['a'])
  assert.deepEqual([cells[0], cells[1], cells[3], cells[4]], [2, 3, 0, 0])
  isolate.call('dispatch', JSON.stringify({ t: 0, r: [[1, true, null]] }))
  assert.deepEqual([cells[0], cells[3], cells[4]], [2, 1, 1])
})

test('GIVEN a flood of due timers WHEN events come THEN they take turns', () => {
  const isolate = withScript(`
    for (let n = 0; n < 100; n++) setTimeout(() => console.log('timer'), 5)
    on('a', async () => { console.log('event'); await new Promise(() => {}) })`)
  isolate.nowMs += 10
  const order = messages(isolate.events(['a', null], ['a', null]))
  assert.deepEqual(order.slice(0, 4), ['timer', 'event', 'timer', 'event'])
  assert.equal(order.length, 102)
})
