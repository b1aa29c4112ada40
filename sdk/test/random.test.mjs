// Random scripts of host behaviour: whatever the order of events, answers, timers, kills and drops, the books balance.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Isolate } from './isolate.mjs'

/** Repeatable: a failure names its seed. */
function generator(seed) {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

const SCRIPT = `
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const s = store('s')
on('e', (ctx) => { console.log('start', ctx.msg.n) })
on('e', async (ctx) => {
  for (const step of ctx.msg.steps) {
    if (step === 'kv') { console.log('enter', ctx.msg.n); await s.get('k'); await null; await s.set('k', 'v'); console.log('leave', ctx.msg.n) }
    if (step === 'rest') await ctx.reply('x')
    if (step === 'pause') await pause(5)
    if (step === 'floating') rest.sendMessage({}).catch(() => {})
    if (step === 'throw') throw new Error('t')
  }
})`
const STEPS = ['kv', 'rest', 'pause', 'floating', 'throw']

function run(seed) {
  const random = generator(seed)
  const isolate = new Isolate({ overlap: 1 + random(5) })
  isolate.loadAndExtract(SCRIPT)
  const open = new Map()
  const completed = new Map()
  const gone = new Set()
  const started = []
  let inside = null
  let sent = 0

  const note = (output) => {
    for (const [id, name] of output.o) open.set(id, name)
    for (const [seq, outcome] of output.d) {
      assert.ok(!completed.has(seq) && !gone.has(seq), `event ${seq} completed twice or after its end`)
      completed.set(seq, outcome)
    }
    for (const [, line] of output.l) {
      const [word, n] = line.split(' ')
      if (word === 'start') started.push(Number(n))
      if (word === 'enter') {
        assert.ok(inside === null || gone.has(inside), `event ${n} entered KV while ${inside} was in it`)
        inside = Number(n)
      }
      if (word === 'leave') inside = null
    }
    return output
  }
  const answerSome = (all) => {
    const results = []
    for (const id of [...open.keys()]) {
      if (!all && random(2) === 0) continue
      const name = open.get(id)
      open.delete(id)
      results.push(name === 'op_send_message' && random(8) === 0 ? [id, false, { message: 'm' }] : [id, true, null])
    }
    return results
  }

  for (let round = 0; round < 30; round++) {
    isolate.nowMs += random(4)
    const events = Array.from({ length: random(4) }, () => {
      const steps = Array.from({ length: random(4) }, () => STEPS[random(STEPS.length)])
      return [++sent, 'e', { n: sent, channelId: '1', steps }]
    })
    const controls = []
    const live = started.filter((seq) => !completed.has(seq) && !gone.has(seq))
    if (live.length > 0 && random(6) === 0) controls.push(['kill', live[random(live.length)]])
    const waiting = sent > 0 && random(6) === 0 ? 1 + random(sent) : 0
    if (waiting > 0 && !started.includes(waiting) && !gone.has(waiting) && waiting <= sent - events.length)
      controls.push(['drop', waiting])
    for (const [, seq] of controls) gone.add(seq)
    note(isolate.send({ c: controls, r: answerSome(false), e: events }))
  }
  for (let round = 0; round < 200 && completed.size + gone.size < sent; round++) {
    isolate.nowMs += 10
    note(isolate.send({ r: answerSome(true) }))
  }
  isolate.nowMs += 100
  const rest = note(isolate.send({ r: answerSome(true) }))

  assert.equal(completed.size + gone.size, sent)
  assert.deepEqual([rest.s, rest.q], [0, 0])
  assert.deepEqual(
    started,
    [...started].sort((a, b) => a - b),
    'events started out of order',
  )
  assert.ok([...completed.values()].every((outcome) => outcome === 'ok' || outcome === 'threw'))
}

test('GIVEN 120 random runs WHEN played THEN each event ends once, in order, and KV sections never interleave', () => {
  for (let seed = 1; seed <= 120; seed++) {
    try {
      run(seed)
    } catch (error) {
      throw new Error(`seed ${seed}: ${error.message}`, { cause: error })
    }
  }
})
