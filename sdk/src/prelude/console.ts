/** `console`: every level, as lines in the host's log. Strings as they are, the rest as compact JSON, joined by one space. */
import { now } from './clock'
import { inspect } from './inspect'
import { type LogLevel, putLog } from './output'
import { bareTable, ErrorCtor, indexOf, isArray, ownKeysOf, repeat, slice } from './primordials'
import { limits } from './state'

/** Rows of one `console.table`. */
const MAX_TABLE_ROWS = 100

let indent = 0
const counts = bareTable<number>()
const timers = bareTable<number>()

/** One line from the host's own side or the SDK. */
export function log(level: LogLevel, args: readonly unknown[]): void {
  let text = indent === 0 ? '' : repeat('  ', indent)
  for (let i = 0; i < args.length && text.length <= limits.maxLogChars; i++) {
    if (i > 0) text += ' '
    text += inspect(args[i])
  }
  putLog(level, cut(text))
}

function cut(text: string): string {
  const limit = limits.maxLogChars
  if (text.length <= limit) return text
  return slice(text, 0, limit) + '… (line cut, ' + (text.length - limit) + ' more characters)'
}

function label(value: unknown): string {
  return value === undefined ? 'default' : inspect(value)
}

function frames(title: string): string {
  const stack = ownStack()
  const from = typeof stack === 'string' ? indexOf(stack, '\n') : -1
  return from < 0 ? title : title + slice(stack as string, from)
}

function ownStack(): unknown {
  try {
    return new ErrorCtor().stack
  } catch {
    return undefined
  }
}

function elapsed(name: string): string | null {
  const from = timers[name]
  return from === undefined ? null : name + ': ' + (now() - from) + ' ms'
}

function table(data: unknown): void {
  if (typeof data !== 'object' || data === null) return log('info', [data])
  const keys = ownKeysOf(data)
  for (let i = 0; i < keys.length && i < MAX_TABLE_ROWS; i++) {
    const key = keys[i] as string
    log('info', [key, (data as Record<string, unknown>)[key]])
  }
  if (keys.length > MAX_TABLE_ROWS) log('info', ['… ' + (keys.length - MAX_TABLE_ROWS) + ' more rows'])
  if (isArray(data) && keys.length === 0) log('info', ['[]'])
}

/** Spreads ask `Array.prototype` for its iterator: a script that broke that only breaks its own console. */
export const consoleObject = {
  log: (...args: unknown[]): void => log('info', args),
  info: (...args: unknown[]): void => log('info', args),
  debug: (...args: unknown[]): void => log('debug', args),
  warn: (...args: unknown[]): void => log('warn', args),
  error: (...args: unknown[]): void => log('error', args),
  trace: (...args: unknown[]): void => {
    let title = 'Trace'
    for (let i = 0; i < args.length; i++) title += (i === 0 ? ': ' : ' ') + inspect(args[i])
    log('trace', [frames(title)])
  },
  assert: (condition?: unknown, ...args: unknown[]): void => {
    if (!condition) log('error', ['Assertion failed' + (args.length === 0 ? '' : ':'), ...args])
  },
  dir: (value?: unknown): void => log('info', [value]),
  dirxml: (...args: unknown[]): void => log('info', args),
  table: (data?: unknown): void => table(data),
  count: (name?: unknown): void => {
    const key = label(name)
    counts[key] = (counts[key] ?? 0) + 1
    log('info', [key + ': ' + counts[key]])
  },
  countReset: (name?: unknown): void => {
    counts[label(name)] = 0
  },
  time: (name?: unknown): void => {
    timers[label(name)] = now()
  },
  timeLog: (name?: unknown, ...args: unknown[]): void => {
    const line = elapsed(label(name))
    if (line !== null) log('info', [line, ...args])
  },
  timeEnd: (name?: unknown): void => {
    const key = label(name)
    const line = elapsed(key)
    if (line !== null) log('info', [line])
    delete timers[key]
  },
  group: (...args: unknown[]): void => {
    if (args.length > 0) log('info', args)
    if (indent < 16) indent++
  },
  groupCollapsed: (...args: unknown[]): void => consoleObject.group(...args),
  groupEnd: (): void => {
    if (indent > 0) indent--
  },
  clear: (): void => {},
}
