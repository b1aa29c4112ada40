/**
 * `setTimeout` and friends, driven by the host: it is told when the next one is due and calls `dispatch` then.
 *
 * A binary heap ordered by due time, then by age. One callback per turn, so that promises settle in between as authors expect.
 */
import { log } from './console'
import { now } from './clock'
import { describeThrown, errorOf } from './error_text'
import type { OpFailure } from './ops'
import {
  bareList,
  ErrorCtor,
  isFiniteNumber,
  MapCtor,
  mapDelete,
  mapForEach,
  mapGet,
  mapSet,
  mathFloor,
  mathMax,
  reflectApply,
  toNumber,
  TypeErrorCtor,
} from './primordials'
import { limits, state, type Task } from './state'

interface Timer {
  readonly id: number
  readonly callback: (...args: unknown[]) => unknown
  readonly args: unknown[]
  /** Set for intervals. */
  readonly everyMs: number | null
  readonly task: Task | null
  /** How many timers set each other in a row. */
  readonly nesting: number
  dueAtMs: number
  cancelled: boolean
}

/** As in browsers: a chain of timers may not wake the host more often than this. */
const NESTED_MIN_MS = 4
const NESTING_LIMIT = 5
/** Cancelled timers stay in the heap until due or until they outnumber the others by this much. */
const COMPACT_SLACK = 64
const MAX_DELAY_MS = 2 ** 31 - 1

const heap = bareList<Timer>()
const live = new MapCtor<number, Timer>()
let lastId = 0
let liveCount = 0
let nesting = 0
let refused = 0

export const timerCount = (): number => liveCount

/** How many were refused since this was asked last. */
export function takeTimersRefused(): number {
  const count = refused
  refused = 0
  return count
}

/** When the next timer is due, host clock in ms, or null. */
export function nextTimerAt(): number | null {
  dropCancelled()
  const first = heap[0]
  return first === undefined ? null : first.dueAtMs
}

export function timerIsDue(): boolean {
  const at = nextTimerAt()
  return at !== null && at <= state.wokenAtMs
}

/** Runs the callback of the timer due first. Throws nothing. */
export function fireNextTimer(begin: (owner: Task | null) => void): void {
  const timer = take()
  if (timer === undefined) return
  if (timer.everyMs === null) {
    remove(timer)
  } else {
    timer.dueAtMs = mathMax(now(), state.wokenAtMs) + timer.everyMs
    push(timer)
  }
  // A timer that outlives its event acts for nobody in particular.
  begin(timer.task !== null && timer.task.finished ? null : timer.task)
  nesting = timer.nesting
  try {
    reflectApply(timer.callback, undefined, timer.args)
  } catch (error) {
    log('error', ['timer callback failed: ' + describeThrown(error)])
  }
  nesting = 0
}

/** Ends the timers of a task the host ended. */
export function dropTimers(task: Task): void {
  mapForEach(live, (timer) => {
    if (timer.task === task) remove(timer)
  })
}

export function setTimeout(callback: unknown, delay?: unknown, ...args: unknown[]): number {
  return add(callback, delay, args, false)
}

export function setInterval(callback: unknown, delay?: unknown, ...args: unknown[]): number {
  return add(callback, delay, args, true)
}

export function setImmediate(callback: unknown, ...args: unknown[]): number {
  return add(callback, 0, args, false)
}

export function clearTimer(id?: unknown): void {
  const timer = mapGet(live, typeof id === 'number' ? id : toNumber(id))
  if (timer !== undefined) remove(timer)
}

function add(callback: unknown, delay: unknown, args: unknown[], repeats: boolean): number {
  if (typeof callback !== 'function') throw new TypeErrorCtor('timer callback must be a function')
  if (liveCount >= limits.maxTimers) throw tooMany()
  const asked = delay === undefined ? 0 : toNumber(delay)
  const least = nesting >= NESTING_LIMIT ? NESTED_MIN_MS : 1
  const everyMs = mathMax(least, isFiniteNumber(asked) && asked <= MAX_DELAY_MS ? mathFloor(asked) : 1)
  const timer: Timer = {
    id: lastId + 1,
    callback: callback as (...args: unknown[]) => unknown,
    args,
    everyMs: repeats ? mathMax(everyMs, NESTED_MIN_MS) : null,
    task: state.owner,
    nesting: nesting + 1,
    dueAtMs: now() + everyMs,
    cancelled: false,
  }
  mapSet(live, timer.id, timer)
  lastId++
  liveCount++
  if (heap.length > 2 * liveCount + COMPACT_SLACK) compact()
  else push(timer)
  return timer.id
}

function tooMany(): unknown {
  refused++
  const message = liveCount + ' timers of this guild are pending already (limit ' + limits.maxTimers + ')'
  return errorOf({ message, code: 'LIMIT_REACHED', limit: 'max_timers' } as OpFailure, new ErrorCtor())
}

function remove(timer: Timer): void {
  if (timer.cancelled) return
  timer.cancelled = true
  liveCount--
  mapDelete(live, timer.id)
}

function before(a: Timer, b: Timer): boolean {
  return a.dueAtMs < b.dueAtMs || (a.dueAtMs === b.dueAtMs && a.id < b.id)
}

function dropCancelled(): void {
  while (heap.length > 0 && (heap[0] as Timer).cancelled) popRoot()
}

function compact(): void {
  heap.length = 0
  mapForEach(live, push)
}

function take(): Timer | undefined {
  dropCancelled()
  return heap.length === 0 ? undefined : popRoot()
}

function push(timer: Timer): void {
  let at = heap.length
  heap[at] = timer
  while (at > 0) {
    const parent = (at - 1) >> 1
    if (!before(timer, heap[parent] as Timer)) break
    heap[at] = heap[parent] as Timer
    at = parent
  }
  heap[at] = timer
}

function popRoot(): Timer {
  const root = heap[0] as Timer
  const last = heap[heap.length - 1] as Timer
  heap.length--
  if (heap.length > 0) siftDown(last)
  return root
}

function siftDown(timer: Timer): void {
  const size = heap.length
  let at = 0
  for (;;) {
    let child = 2 * at + 1
    if (child >= size) break
    if (child + 1 < size && before(heap[child + 1] as Timer, heap[child] as Timer)) child++
    if (!before(heap[child] as Timer, timer)) break
    heap[at] = heap[child] as Timer
    at = child
  }
  heap[at] = timer
}
