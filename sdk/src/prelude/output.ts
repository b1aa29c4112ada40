/**
 * What the isolate has to say since the host last asked, kept as JSON text.
 *
 * Each part is a string that grows by concatenation: no arrays, so nothing a script does to prototypes can reach it. Encode
 * first, append after: an encoder may run script code (`toJSON`), which may append in turn.
 */
import { jsonStringify, slice } from './primordials'

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error'
export type Outcome = 'ok' | 'threw' | 'never' | 'nonpromise'

/** Numbers the host shows beside the output; see PROTOCOL.md. */
export interface Counters {
  nextTimerAt: number | null
  started: number
  queued: number
  pendingOps: number
  /** Null: as before. */
  bufferBytes: number | null
  opsRefused: number
  timers: number
  timersRefused: number
  more: boolean
}

let ops = ''
let owners = ''
let lastOwner = -1
let done = ''
let logs = ''
let handlers = ''
let crons = ''
let extracted = ''
let forgotten = ''
let logLines = 0
let logLinesDropped = 0
let maxLogLines = 1000

export function setMaxLogLines(lines: number): void {
  maxLogLines = lines
}

/** `args` is the inside of a JSON array; `owner` the event on whose behalf it is asked for, told when it is another than before. */
export function putOp(id: number, name: string, args: string, owner: number): void {
  const entry = '[' + id + ',' + jsonStringify(name) + ',[' + args + ']]'
  if (owner !== lastOwner) {
    lastOwner = owner
    owners = (owners === '' ? '' : owners + ',') + id + ',' + owner
  }
  ops = ops === '' ? entry : ops + ',' + entry
}

export function putDone(seq: number, outcome: Outcome, text: string | null, elapsedUs: number): void {
  const entry =
    '[' + seq + ',"' + outcome + '",' + (text === null ? 'null' : jsonStringify(text)) + ',' + elapsedUs + ']'
  done = done === '' ? entry : done + ',' + entry
}

/** Lines past the limit of one turn are counted and reported by `render`, so that a script in a loop cannot fill the heap. */
export function putLog(level: LogLevel, message: string): void {
  if (logLines >= maxLogLines) {
    logLinesDropped++
    return
  }
  const entry = '["' + level + '",' + jsonStringify(message) + ']'
  logLines++
  logs = logs === '' ? entry : logs + ',' + entry
}

export function putHandler(event: string): void {
  const entry = jsonStringify(event)
  handlers = handlers === '' ? entry : handlers + ',' + entry
}

export function putCron(name: string, expression: string, skipIfRunning: boolean, catchUp: boolean): void {
  const entry = '[' + jsonStringify(name) + ',' + jsonStringify(expression) + ',' + skipIfRunning + ',' + catchUp + ']'
  crons = crons === '' ? entry : crons + ',' + entry
}

export function putExtracted(text: string): void {
  extracted = jsonStringify(text)
}

/** An op whose answer nobody waits for any more. */
export function putForgotten(id: number): void {
  forgotten = forgotten === '' ? '' + id : forgotten + ',' + id
}

/** The whole output as one JSON object, and an empty buffer behind it. */
export function render(counters: Counters): string {
  if (logLinesDropped > 0) {
    logs += ',["warn","console: ' + logLinesDropped + ' more lines dropped"]'
  }
  let text = part('o', ops) + part('w', owners) + part('d', done) + part('l', logs)
  text += part('h', handlers) + part('c', crons) + part('k', forgotten)
  if (extracted !== '') text += ',"x":' + extracted
  if (counters.nextTimerAt !== null) text += ',"n":' + counters.nextTimerAt
  if (counters.started !== 0) text += ',"s":' + counters.started
  if (counters.queued !== 0) text += ',"q":' + counters.queued
  if (counters.pendingOps !== 0) text += ',"p":' + counters.pendingOps
  if (counters.bufferBytes !== null) text += ',"b":' + counters.bufferBytes
  if (counters.opsRefused !== 0) text += ',"or":' + counters.opsRefused
  if (counters.timers !== 0) text += ',"tn":' + counters.timers
  if (counters.timersRefused !== 0) text += ',"tr":' + counters.timersRefused
  if (counters.more) text += ',"m":true'
  ops = owners = done = logs = handlers = crons = extracted = forgotten = ''
  logLines = logLinesDropped = 0
  return text === '' ? '{}' : '{' + slice(text, 1) + '}'
}

function part(key: string, entries: string): string {
  return entries === '' ? '' : ',"' + key + '":[' + entries + ']'
}
