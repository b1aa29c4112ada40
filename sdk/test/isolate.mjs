// An isolate made of a node `vm` context, driven by the host protocol as the engine drives it: dispatch, then take until quiet.
import { readFileSync } from 'node:fs'
import vm from 'node:vm'

const read = (name) => readFileSync(new URL(`../dist/${name}`, import.meta.url), 'utf8')
const PRELUDE = new vm.Script(read('prelude.js'))
const FETCH = new vm.Script(read('fetch.js'))
const SDK = new vm.Script(read('sdk.js'))

// Microtasks run when the outermost call into the context returns, as in the engine.
const NEXT_TURN = new vm.Script('0')

export class Isolate {
  constructor(boot = {}) {
    this.context = vm.createContext({}, { microtaskMode: 'afterEvaluate' })
    this.nowMs = 1_000_000
    // Time passes when a test says so, however slow the machine is.
    vm.runInContext('(clock) => { delete globalThis.console; Date.now = clock }', this.context)(() => this.nowMs)
    this.host = PRELUDE.runInContext(this.context)
    this.host.boot(
      JSON.stringify({
        guildId: '42',
        progressOffset: 0,
        overlap: 16,
        entropy: '00'.repeat(32),
        t: this.nowMs,
        ...boot,
      }),
    )
    FETCH.runInContext(this.context)
    SDK.runInContext(this.context)
    this.lastSeq = 0
  }

  /** Calls into the isolate and lets its microtasks run. */
  call(name, ...args) {
    this.context.__call = () => this.host[name](...args)
    const result = vm.runInContext('__call()', this.context)
    delete this.context.__call
    NEXT_TURN.runInContext(this.context)
    return result
  }

  /** All that `take` has to say until it says that there is no more, merged. */
  take() {
    const merged = { o: [], d: [], l: [], c: [], h: [], k: [], w: [], turns: 0 }
    for (;;) {
      const part = JSON.parse(this.call('take'))
      merged.turns++
      for (const key of ['o', 'd', 'l', 'c', 'h', 'k', 'w']) merged[key].push(...(part[key] ?? []))
      merged.x = part.x ?? merged.x ?? null
      merged.n = part.n ?? null
      merged.s = part.s ?? 0
      merged.q = part.q ?? 0
      merged.p = part.p ?? 0
      if (!part.m) return merged
    }
  }

  send(message = {}) {
    this.call('dispatch', JSON.stringify({ t: this.nowMs, ...message }))
    return this.take()
  }

  events(...events) {
    return this.send({
      e: events.map(([name, payload, opts]) => [++this.lastSeq, name, payload, ...(opts ? [opts] : [])]),
    })
  }

  event(name, payload = {}, opts = undefined) {
    return this.events([name, payload, opts])
  }

  answer(...results) {
    return this.send({ r: results })
  }

  /** Loads a script as the engine does, and extracts its dispatcher. */
  load(source) {
    const main = vm.runInContext(
      `(async function () {"use strict";\n${source}\n})\n//# sourceURL=file:///guild/42/bundle.js`,
      this.context,
    )
    this.call('load', main)
    return this.take()
  }

  loadAndExtract(source) {
    const loaded = this.load(source)
    const extracted = this.send({ c: [['extract']] })
    return { ...loaded, x: extracted.x, h: [...loaded.h, ...extracted.h] }
  }

  run(source) {
    return vm.runInContext(source, this.context)
  }
}
