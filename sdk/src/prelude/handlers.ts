/** Who listens to what: `on`, `cron`, and the dispatcher that calls handlers one after another. */
import { log } from './console'
import { Context, type Payload } from './context'
import { cronProblem } from './cron_expression'
import { putCron, putHandler } from './output'
import {
  bareTable,
  ErrorCtor,
  hasOwn,
  isArray,
  ownKeysOf,
  PromiseCtor,
  slice,
  startsWith,
  StringFn,
  TypeErrorCtor,
} from './primordials'
import { limits, state, type Task } from './state'

export type Handler = (ctx: unknown) => unknown

const CRON_PREFIX = '__cron:'
const MAX_CRON_NAME = 256
const MAX_SHOWN = 200

const NO_HANDLERS: readonly Handler[] = []

/** Event name → handlers in order of registration. Scripts see it as `__floraHandlers`. */
export const handlers = bareTable<Handler[]>()
const announced = bareTable<true>()
const cronJobs = bareTable<true>()
let cronCount = 0

/** `on(event, handler)`: any event name, any number of handlers, also while one runs. */
export function on(event: unknown, handler: unknown): void {
  const name = StringFn(event)
  if (typeof handler !== 'function')
    log('warn', ['on("' + name + '"): the handler is not a function and will fail when called'])
  add(name, handler as Handler)
}

function add(event: string, handler: Handler): void {
  const list = handlers[event]
  if (isArray(list)) {
    list[list.length] = handler
  } else {
    handlers[event] = [handler]
  }
  announce(event)
}

/** Tells the host that an event has a listener now: others never reach the isolate. */
function announce(event: string): void {
  if (announced[event] === true || startsWith(event, CRON_PREFIX)) return
  announced[event] = true
  putHandler(event)
}

/** Also finds handlers a script put into `__floraHandlers` itself. */
export function announceAll(): void {
  const names = ownKeysOf(handlers)
  for (let i = 0; i < names.length; i++) announce(names[i] as string)
}

/** A script that brings its own dispatcher gets everything. */
export function announceEverything(): void {
  announce('*')
}

interface CronOptions {
  skipIfRunning?: unknown
  catchUp?: unknown
}

/**
 * `cron(name, expression, handler, { skipIfRunning, catchUp })`. The handler is kept only when the job is. Whether it ever comes due
 * is the host's to say.
 */
export function cron(name: unknown, expression: unknown, handler: unknown, options?: unknown): void {
  if (typeof name !== 'string' || name === '') throw new TypeErrorCtor('cron name must be a non-empty string')
  if (typeof expression !== 'string' || expression === '')
    throw new TypeErrorCtor('cron expression must be a non-empty string')
  if (typeof handler !== 'function') throw new TypeErrorCtor('cron handler must be a function')
  if (name.length > MAX_CRON_NAME) throw new ErrorCtor('cron name must not be longer than 256 characters')
  const problem = cronProblem(expression)
  if (problem !== null)
    throw new ErrorCtor("invalid cron expression '" + slice(expression, 0, MAX_SHOWN) + "': " + problem)
  const given = typeof options === 'object' && options !== null ? (options as CronOptions) : null
  const skip = given !== null && given.skipIfRunning === true
  const catchUp = given === null ? undefined : given.catchUp
  if (catchUp !== undefined && catchUp !== 'once' && catchUp !== 'none')
    throw new TypeErrorCtor('cron catchUp must be "once" or "none"')
  if (cronCount >= limits.maxCronJobs) throw new ErrorCtor('max cron jobs exceeded for this guild/runtime')
  if (hasOwn(cronJobs, name)) throw new ErrorCtor("cron job with name '" + name + "' already exists")
  putCron(name, expression, skip, catchUp === 'once')
  cronJobs[name] = true
  cronCount++
  add(CRON_PREFIX + name, handler as Handler)
}

/** The host has refused a job after all. */
export function uncron(name: string): void {
  if (!hasOwn(cronJobs, name)) return
  delete cronJobs[name]
  delete handlers[CRON_PREFIX + name]
  cronCount--
}

/** Told once how the handlers of an event ended. */
export type OnEnd<T> = (subject: T, failed: boolean, error: unknown) => void

/**
 * Calls the handlers of one event in order; the first that throws ends it. Handlers added meanwhile are called too. A handler
 * without a result is not awaited, so that plain functions cost no turn of the microtask queue.
 */
export async function runHandlers<T>(
  event: string,
  payload: unknown,
  task: Task | null,
  subject: T,
  onEnd: OnEnd<T>,
): Promise<void> {
  try {
    const list = handlers[event] ?? NO_HANDLERS
    for (let i = 0; i < list.length; i++) {
      const handler = list[i] as Handler
      const result = handler(new Context(payload as Payload, task))
      if (result !== undefined) await result
      if (task !== null && task.killed) return
    }
  } catch (error) {
    onEnd(subject, true, error)
    return
  }
  onEnd(subject, false, undefined)
}

/** The global `__floraDispatch`. The host goes the shorter way while it is this one. */
export function dispatch(event: unknown, payload: unknown): Promise<void> {
  return new PromiseCtor<void>((resolve, reject) => {
    void runHandlers(StringFn(event), payload, state.owner, null, (_subject, failed, error) => {
      if (failed) reject(error)
      else resolve()
    })
  })
}
