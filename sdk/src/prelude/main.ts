/**
 * The entry of the prelude. Its result is what the host keeps: `boot`, `load`, `dispatch`, `take`, `args`, `progress`. Nothing of
 * it can be reached from the global scope. The protocol is described in sdk/PROTOCOL.md.
 */
import { log } from './console'
import { installGlobals, setGuildId } from './globals'
import { announceAll, announceEverything, uncron } from './handlers'
import { now } from './clock'
import { changedBufferBytes } from './memory'
import { putExtracted, render, setMaxLogLines } from './output'
import { pendingOps, takeOpsRefused } from './ops'
import { dateNow, globalScope, hasOwn, jsonParse, ownKeysOf } from './primordials'
import { progress, setProgressOffset } from './progress'
import { setSecrets } from './secrets'
import { limits, state, Task } from './state'
import { beginCall, drop, enqueue, kill, queueAnswer, runTurn, setDispatch, settleIdle, startLoad } from './tasks'
import { nextTimerAt, takeTimersRefused, timerCount } from './timers'
import { entropy } from './web/entropy'

type Control = [kind: string, ...values: unknown[]]
type EventEntry = [seq: number, name: string, payload: unknown, options?: { cron?: boolean }]
type ResultEntry = [id: number, succeeded: boolean, value: unknown]

interface Boot {
  guildId?: string | null
  progressOffset?: number
  overlap?: number
  limits?: Record<string, number>
  entropy?: string
  t?: number
  secrets?: Record<string, string>
}

interface Incoming {
  c?: Control[]
  r?: ResultEntry[]
  t?: number
  e?: EventEntry[]
}

/** The host's argument list: element 0 carries the JSON text, or the script's function for `load`. */
const args: unknown[] = ['']

function boot(json: string): void {
  const given = jsonParse(json) as Boot
  state.guildId = hasOwn(given, 'guildId') ? (given.guildId ?? null) : null
  if (hasOwn(given, 'progressOffset')) setProgressOffset(given.progressOffset as number)
  if (hasOwn(given, 'overlap')) state.overlap = state.overlapLimit = given.overlap as number
  if (hasOwn(given, 'limits')) setLimits(given.limits as Record<string, number>)
  if (hasOwn(given, 'secrets')) setSecrets(given.secrets as Record<string, string>)
  if (hasOwn(given, 't')) setClock(given.t as number)
  setGuildId(state.guildId)
  if (hasOwn(given, 'entropy')) entropy.hex = given.entropy as string
}

function setLimits(given: Record<string, number>): void {
  const names = ownKeysOf(given)
  for (let i = 0; i < names.length; i++) {
    const name = names[i] as keyof typeof limits
    if (hasOwn(limits, name)) limits[name] = given[name] as number
  }
  setMaxLogLines(limits.maxLogLines)
}

/** Set while the host's call runs. Still set at the next call: that one was cut off. */
let running = false

/** Takes in everything the host has, then sets the first thing going. */
function dispatch(json: string): void {
  beginCall()
  running = true
  const given = jsonParse(json) as Incoming
  args[0] = ''
  if (hasOwn(given, 't')) setClock(given.t as number)
  if (hasOwn(given, 'c')) applyControls(given.c as Control[])
  if (hasOwn(given, 'r')) acceptResults(given.r as ResultEntry[])
  if (hasOwn(given, 'e')) acceptEvents(given.e as EventEntry[])
  runTurn()
  running = false
}

function setClock(hostMs: number): void {
  state.wokenAtMs = hostMs
  state.clockOffsetMs = hostMs - dateNow()
}

function applyControls(controls: Control[]): void {
  for (let i = 0; i < controls.length; i++) {
    const control = controls[i] as Control
    switch (control[0]) {
      case 'kill':
        for (let k = 1; k < control.length; k++) kill(control[k] as number)
        break
      case 'drop':
        for (let k = 1; k < control.length; k++) drop(control[k] as number)
        break
      case 'uncron':
        for (let k = 1; k < control.length; k++) uncron(control[k] as string)
        break
      case 'extract':
        extract()
        break
      case 'secrets':
        setSecrets(control[1] as Record<string, string>)
        break
      default:
        log('warn', ['the host sent something this prelude does not know: ' + control[0]])
    }
  }
}

function acceptResults(results: ResultEntry[]): void {
  for (let i = 0; i < results.length; i++) {
    const result = results[i] as ResultEntry
    queueAnswer(result[0], result[1], result.length > 2 ? result[2] : undefined)
  }
}

function acceptEvents(events: EventEntry[]): void {
  for (let i = 0; i < events.length; i++) {
    const event = events[i] as EventEntry
    const options = event.length > 3 ? event[3] : undefined
    const drains = typeof options === 'object' && options !== null && hasOwn(options, 'cron') && options.cron === true
    enqueue(new Task(event[0], event[1], event[2], drains))
  }
}

/** Looks the dispatcher up again: a script may have replaced it, and owns dispatch from then on. */
function extract(): void {
  let found: unknown
  try {
    found = (globalScope as { __floraDispatch?: unknown }).__floraDispatch
  } catch {
    found = undefined
  }
  if (found === undefined || found === null) return putExtracted('Dispatch function missing')
  if (typeof found !== 'function') return putExtracted('Dispatch symbol is not a function')
  if (setDispatch(found as (event: string, payload: unknown) => unknown)) announceEverything()
  else announceAll()
  putExtracted('ok')
}

/** Runs the script, given as an async function. */
function load(main: () => unknown): void {
  beginCall()
  args[0] = ''
  state.wokenAtMs = now()
  running = true
  startLoad(main)
  running = false
}

/**
 * Everything said since the last call; sets the next thing going first, so that its first words are included. Not after a call that
 * was cut off: at the heap limit what starts now would be lost with the isolate.
 */
function take(): string {
  beginCall()
  const cutOff = running
  running = true
  const more = cutOff || runTurn() || settleIdle()
  running = false
  return render({
    nextTimerAt: nextTimerAt(),
    started: state.started,
    queued: state.queued,
    pendingOps: pendingOps(),
    bufferBytes: changedBufferBytes(),
    opsRefused: takeOpsRefused(),
    timers: timerCount(),
    timersRefused: takeTimersRefused(),
    more,
  })
}

installGlobals()

export const host = { boot, load, dispatch, take, args, progress }
