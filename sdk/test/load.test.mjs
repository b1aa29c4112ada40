// The load of a script, its timers, its cron jobs and its secrets.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Isolate } from './isolate.mjs'

const messages = (output) => output.l.map(([, message]) => message)

test('GIVEN a script with top-level await WHEN loaded THEN it completes after its answers and timers', () => {
  const isolate = new Isolate()
  const first = isolate.load(
    "const a = await rest.fetchMessage({}); console.log(a.id); await new Promise((r) => setTimeout(r, 50)); console.log('end')",
  )
  assert.deepEqual([first.d, first.p], [[], 1])
  const second = isolate.answer([1, true, { id: '9' }])
  assert.deepEqual([messages(second), second.d, second.n !== null], [['9'], [], true])
  isolate.nowMs = second.n
  const third = isolate.send()
  assert.deepEqual([messages(third), third.d[0].slice(0, 2)], [['end'], [0, 'ok']])
})

test('GIVEN a script that throws WHEN loaded THEN the text says where', () => {
  const { d } = new Isolate().load('const x = 1\nnope()')
  assert.equal(d[0][1], 'threw')
  assert.match(d[0][2], /^ReferenceError: nope is not defined\n(.*\n)*? {4}at file:\/\/\/guild\/42\/bundle\.js:3:1/)
})

test('GIVEN a top-level await on nothing WHEN loaded THEN it is reported at once', () => {
  assert.equal(new Isolate().load('await new Promise(() => {})').d[0][1], 'never')
})

test('GIVEN an interval at top level WHEN loaded THEN it does not hold the load up, and fires', () => {
  const isolate = new Isolate()
  const loaded = isolate.loadAndExtract('let n = 0; setInterval(() => console.log(++n), 1000)')
  assert.equal(loaded.d[0][1], 'ok')
  isolate.nowMs = loaded.n
  const output = isolate.send()
  assert.deepEqual(messages(output), ['1'])
  isolate.nowMs = output.n
  assert.deepEqual(messages(isolate.send()), ['2'])
})

test('GIVEN a slash command WHEN Discord refuses it THEN the load fails with that error', () => {
  const isolate = new Isolate()
  const loaded = isolate.load("createBot({ slashCommands: [slash({ name: 'x', description: 'y', run() {} })] })")
  assert.deepEqual([loaded.d, loaded.o[0][1]], [[], 'op_upsert_guild_commands'])
  const { d } = isolate.answer([1, false, { message: 'bad command', code: 'DISCORD_HTTP_ERROR' }])
  assert.deepEqual([d[0][1], d[0][2].split('\n')[0]], ['threw', 'Error: bad command'])
})

test('GIVEN commands registered by hand and not awaited WHEN refused THEN the log says so and the load goes on', () => {
  const isolate = new Isolate()
  isolate.load("registerSlashCommands([{ name: 'x', description: 'y' }])")
  const output = isolate.answer([1, false, { message: 'bad command' }])
  assert.deepEqual([output.d[0][1], output.l[0][0]], ['ok', 'error'])
  assert.match(output.l[0][1], /^slash commands were not registered: Error: bad command/)
})

test('GIVEN events sent during the load WHEN it completes THEN they start', () => {
  const isolate = new Isolate()
  isolate.load("on('a', () => console.log('a')); await rest.fetchMessage({})")
  assert.deepEqual(messages(isolate.event('a')), [])
  const output = isolate.answer([1, true, null])
  assert.deepEqual([messages(output), output.d.map(([seq]) => seq)], [['a'], [0, 1]])
})

test('GIVEN timers WHEN time passes THEN they fire in order, one turn each, with their arguments', () => {
  const isolate = new Isolate()
  isolate.loadAndExtract(`
    setTimeout((x) => { console.log(x); Promise.resolve().then(() => console.log('between')) }, 10, 'ten')
    setTimeout(() => console.log('ten too'), 10)
    setTimeout(() => console.log('five'), 5)
    const gone = setTimeout(() => console.log('gone'), 7)
    clearTimeout(gone)
    setTimeout(() => { throw new Error('in a timer') }, 11)
    setImmediate(() => console.log('immediate'))`)
  isolate.nowMs += 100
  const output = isolate.send()
  assert.deepEqual(
    messages(output).map((line) => line.split('\n')[0]),
    ['immediate', 'five', 'ten', 'between', 'ten too', 'timer callback failed: Error: in a timer'],
  )
  assert.equal(output.n, null)
})

test('GIVEN thousands of timers set and cleared WHEN one is left THEN it still fires', () => {
  const isolate = new Isolate()
  isolate.loadAndExtract(
    "setTimeout(() => console.log('left'), 50); for (let i = 0; i < 5000; i++) clearTimeout(setTimeout(() => console.log('no'), i)); clearInterval('x'); clearTimeout()",
  )
  isolate.nowMs += 1e6
  assert.deepEqual(messages(isolate.send()), ['left'])
})

test('GIVEN a timer chain with no delay WHEN it runs THEN the host is not woken more often than every 4 ms', () => {
  const isolate = new Isolate()
  isolate.loadAndExtract('const again = () => setTimeout(again, 0); again()')
  let output = isolate.send()
  for (let i = 0; i < 10; i++) {
    isolate.nowMs = output.n
    output = isolate.send()
  }
  assert.ok(output.n - isolate.nowMs >= 4)
})

test('GIVEN cron calls WHEN arguments are wrong THEN they throw as documented, in this order', () => {
  const isolate = new Isolate({ limits: { maxCronJobs: 2 } })
  const output = isolate.load(`
    const attempt = (...args) => { try { cron(...args); console.log('ok') } catch (e) { console.log(e.name + ': ' + e.message) } }
    attempt('', '', 0)
    attempt('a', 5, 0)
    attempt('a', '* * * * *', 0)
    attempt('a', '* * * * *', () => {}, { skipIfRunning: true })
    attempt('a', '* * * * *', () => {})
    attempt('c', '@daily', () => {}, { catchUp: 'always' })
    attempt('b', '@daily', () => {}, { catchUp: 'once' })
    attempt('b', '@daily', () => {})
    attempt('b', '61 * * * *', () => {})`)
  assert.deepEqual(messages(output), [
    'TypeError: cron name must be a non-empty string',
    'TypeError: cron expression must be a non-empty string',
    'TypeError: cron handler must be a function',
    'ok',
    "Error: cron job with name 'a' already exists",
    'TypeError: cron catchUp must be "once" or "none"',
    'ok',
    'Error: max cron jobs exceeded for this guild/runtime',
    "Error: invalid cron expression '61 * * * *': Component error: Number out of bounds.",
  ])
  assert.deepEqual(output.c, [
    ['a', '* * * * *', true, false],
    ['b', '@daily', false, true],
  ])
  assert.deepEqual(output.h, [])
})

test('GIVEN a cron job that the host refuses WHEN it has said so THEN its handler is gone and its name is free', () => {
  const isolate = new Isolate()
  isolate.loadAndExtract("cron('a', '0 0 30 2 *', () => console.log('first')); on('again', () => cron('a', '@daily', () => console.log('second')))")
  isolate.send({ c: [['uncron', 'a', 'unknown']] })
  assert.deepEqual(isolate.event('again', {}).c, [['a', '@daily', false, false]])
  assert.deepEqual(messages(isolate.event('__cron:a', {}, { cron: true })), ['second'])
})

test('GIVEN cron runs WHEN they start THEN the flight recorder has them in a place of their own', () => {
  const isolate = new Isolate()
  isolate.loadAndExtract("cron('a', '@daily', () => {}); on('x', () => {})")
  isolate.send({ e: [[7, 'x', {}], [-1, '__cron:a', {}, { cron: true }], [-2, '__cron:a', {}, { cron: true }]] })
  const cells = new Float64Array(isolate.host.progress, 0, 7)
  assert.deepEqual([cells[0], cells[6]], [7, 2])
})

test('GIVEN a duplicate cron job that was caught WHEN the job runs THEN only the first handler is called', () => {
  const isolate = new Isolate()
  isolate.loadAndExtract(
    "cron('a', '* * * * *', () => console.log('first')); try { cron('a', '* * * * *', () => console.log('second')) } catch {}",
  )
  assert.deepEqual(messages(isolate.event('__cron:a', {}, { cron: true })), ['first'])
})

test('GIVEN placeholders WHEN secrets are read THEN they are given, and null for others', () => {
  const isolate = new Isolate({ secrets: { KEY: '__FLORA_SECRET__:1' } })
  isolate.loadAndExtract("on('a', () => console.log(secrets.get('KEY'), secrets.get('toString'), secrets.get('NEW')))")
  assert.deepEqual(messages(isolate.event('a')), ['__FLORA_SECRET__:1 null null'])
  isolate.send({ c: [['secrets', { NEW: 'x' }]] })
  assert.deepEqual(messages(isolate.event('a')), ['null null x'])
})
