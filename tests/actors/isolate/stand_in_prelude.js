// The smallest thing that speaks the engine's side of the protocol: handlers, kill, promises; no ops, no timers.
(() => {
  "use strict"
  const parse = JSON.parse
  const stringify = JSON.stringify
  const progress = new ArrayBuffer(8192)
  const dead = new Set()
  const handlers = new Map()
  let cells = new Float64Array(progress, 0, 6)
  let completions = []
  let lines = []
  let fresh = []
  globalThis.on = (event, handler) => {
    if (!handlers.has(event)) fresh.push(event)
    handlers.set(event, handler)
  }
  globalThis.console = { log: (text) => void lines.push(["info", String(text)]) }
  delete globalThis.WebAssembly

  const settle = (seq, outcome, text) => {
    if (dead.has(seq)) return
    cells[3] = seq
    completions.push([seq, outcome, text, 0])
  }
  const start = async (seq, run) => {
    cells[2] = Date.now()
    cells[1] += 1
    cells[4] = seq
    cells[5] += 1
    cells[0] = seq
    try {
      await run()
      settle(seq, "ok", null)
    } catch (error) {
      settle(seq, "threw", String(error?.stack ?? error))
    }
  }
  return {
    progress,
    boot(json) {
      cells = new Float64Array(progress, parse(json).progressOffset, 6)
    },
    dispatch(json) {
      const input = parse(json)
      for (const [control, seq] of input.c ?? []) if (control === "kill") dead.add(seq)
      for (const [seq, name, payload] of input.e ?? []) {
        const handler = handlers.get(name)
        if (handler) start(seq, () => handler({ msg: payload }))
        else settle(seq, "ok", null)
      }
    },
    load(body) {
      start(0, body)
    },
    take() {
      const output = {}
      if (completions.length) output.d = completions
      if (lines.length) output.l = lines
      if (fresh.length) output.h = fresh
      completions = []
      lines = []
      fresh = []
      return stringify(output)
    },
  }
})()
