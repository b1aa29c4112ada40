/** What a script finds in its global scope, and what it does not. */
import { installBuffers } from './buffers'
import { consoleObject, log } from './console'
import { Context } from './context'
import { describeThrown } from './error_text'
import { cron, dispatch, handlers, on } from './handlers'
import { installLengths } from './lengths'
import { abandonOp, lastOp, op, opFor } from './ops'
import { createObject, defineProperty, ErrorCtor, globalScope, mathFloor, TypeErrorCtor } from './primordials'
import { secrets } from './secrets'
import { state } from './state'
import { track } from './tasks'
import { clearTimer, setImmediate, setInterval, setTimeout } from './timers'
import { installWeb } from './web/index'

/** Built-ins that could start work behind the host's back, or memory and code it cannot account for. */
const REMOVED = [
  'SharedArrayBuffer',
  'WebAssembly',
  'FinalizationRegistry',
  '__timer_manager',
  '__TimerManager',
] as const

/** Stack frames kept per error: enough to get from the SDK through a library to the author's line. */
const STACK_FRAMES = 20

/** What the SDK bundle takes over; it deletes the global as its first act. */
export interface SdkHost {
  op(name: string, args: readonly unknown[]): Promise<unknown>
  /** The number of the op asked for last, for `abandonOp`. */
  lastOp(): number
  /** Gives up an op: its promise never settles. */
  abandonOp(id: number): void
  track(promise: Promise<unknown>): void
  log(level: 'trace' | 'debug' | 'info' | 'warn' | 'error', args: readonly unknown[]): void
  on(event: string, handler: (ctx: never) => unknown): void
  /** A context of the same event with more members; null when `ctx` is not a context. */
  extendContext(ctx: unknown, members: Record<string, unknown>): object | null
  guildId(): string | null
  setOverlap(events: number): void
}

export function installGlobals(): void {
  remove()
  installBuffers()
  installLengths()
  ;(ErrorCtor as unknown as { stackTraceLimit: number }).stackTraceLimit = STACK_FRAMES
  define('console', consoleObject)
  define('on', on)
  define('cron', cron)
  define('secrets', secrets)
  define('registerSlashCommands', registerSlashCommands)
  define('setTimeout', setTimeout)
  define('setInterval', setInterval)
  define('setImmediate', setImmediate)
  define('clearTimeout', clearTimer)
  define('clearInterval', clearTimer)
  define('clearImmediate', clearTimer)
  define('queueMicrotask', queueMicrotask)
  define('self', globalScope)
  define('__floraDispatch', dispatch)
  define('__floraHandlers', handlers)
  define('__floraGuildId', undefined)
  define('__floraHost', sdkHost)
  installWeb(defineLazy)
}

export function setGuildId(guildId: string | null): void {
  define('__floraGuildId', guildId ?? undefined)
}

const sdkHost: SdkHost = {
  op,
  lastOp,
  abandonOp,
  track: (promise) => void track(promise),
  log,
  on,
  extendContext: (ctx, members) => Context.extend(ctx, members),
  guildId: () => state.guildId,
  setOverlap,
}

/** A script may ask for fewer overlapping events than the host allows, not for more. */
function setOverlap(events: number): void {
  state.overlap = events >= 1 && events <= state.overlapLimit ? mathFloor(events) : state.overlapLimit
}

/** Replaces the guild's slash commands with these. Undefined outside a guild. */
function registerSlashCommands(commands: unknown): Promise<unknown> | undefined {
  if (state.guildId === null) return undefined
  const options = createObject(null) as Record<string, unknown>
  options.guildId = state.guildId
  options.commands = commands
  const registration = opFor(state.owner, 'op_upsert_guild_commands', [options])
  void logFailure(registration)
  return registration
}

/** Registration is seldom awaited; without this a refused command would go unnoticed. */
async function logFailure(registration: Promise<unknown>): Promise<void> {
  try {
    await registration
  } catch (error) {
    log('error', ['slash commands were not registered: ' + describeThrown(error)])
  }
}

function queueMicrotask(callback: unknown): void {
  if (typeof callback !== 'function') throw new TypeErrorCtor('queueMicrotask: the callback must be a function')
  void runSoon(callback as () => unknown)
}

async function runSoon(callback: () => unknown): Promise<void> {
  await undefined
  try {
    callback()
  } catch (error) {
    log('error', ['microtask failed: ' + describeThrown(error)])
  }
}

function remove(): void {
  for (let i = 0; i < REMOVED.length; i++) {
    const name = REMOVED[i] as string
    // `var` at the top of a script cannot be deleted, only emptied.
    if (!Reflect.deleteProperty(globalThis, name)) define(name, undefined)
  }
  const atomics = (globalThis as { Atomics?: object }).Atomics
  if (atomics !== undefined) Reflect.deleteProperty(atomics, 'waitAsync')
}

function define(name: string, value: unknown): void {
  defineProperty(globalScope, name, { value, writable: true, enumerable: false, configurable: true })
}

/** A global that is built when first touched: most scripts touch few, and each guild would pay for all. */
function defineLazy(name: string, build: () => unknown): void {
  defineProperty(globalScope, name, {
    get() {
      const value = build()
      // The bundler may have renamed a class that mentions itself.
      if (typeof value === 'function') defineProperty(value, 'name', { value: name, configurable: true })
      define(name, value)
      return value
    },
    set(value: unknown) {
      define(name, value)
    },
    enumerable: false,
    configurable: true,
  })
}
