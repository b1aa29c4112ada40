/**
 * Values as one line of text, for the console and for thrown values: compact JSON, plus what JSON cannot say. Any value may be
 * hostile: getters that throw, proxies, `toJSON` that returns itself, circles, a million elements. So depth and length are
 * bounded and every step that can run script code is guarded.
 */
import {
  bigintToString,
  ErrorCtor,
  isArray,
  jsonStringify,
  MapCtor,
  mapForEach,
  ownKeysOf,
  SetCtor,
  setForEach,
  StringFn,
  symbolToString,
} from './primordials'

const MAX_DEPTH = 12

/** One rendering: what is open above the current value, and how much may still be written. */
interface Pen {
  readonly open: object | null
  readonly above: Pen | null
  readonly depth: number
  readonly budget: { left: number }
}

/** Characters written before a rendering stops; the caller cuts finer. */
const BUDGET = 65536

/** A string as it is, anything else as compact JSON; see script-facing README for the additions. */
export function inspect(value: unknown): string {
  if (typeof value === 'string') return value
  if (isError(value)) return inspectThrown(value)
  return render(value, { open: null, above: null, depth: 0, budget: { left: BUDGET } }, false)
}

/** The stack of an Error, or its name and message when it has none that is text. */
export function inspectThrown(error: Error): string {
  const stack = guarded(() => error.stack)
  if (typeof stack === 'string' && stack !== '') return stack
  return headline(error)
}

function headline(error: Error): string {
  const name = guarded(() => error.name)
  const message = guarded(() => error.message)
  const title = typeof name === 'string' ? name : 'Error'
  return typeof message === 'string' && message !== '' ? title + ': ' + message : title
}

function isError(value: unknown): value is Error {
  try {
    return value instanceof ErrorCtor
  } catch {
    return false
  }
}

/** Inside a structure everything is JSON: what is bare at the top is quoted there. */
function render(value: unknown, pen: Pen, nested: boolean): string {
  switch (typeof value) {
    case 'string':
      return jsonStringify(value)
    case 'number':
    case 'boolean':
    case 'undefined':
      return StringFn(value)
    case 'bigint':
      return bigintToString(value) + 'n'
    case 'symbol':
      return quote(symbolToString(value), nested)
    case 'function':
      return quote(functionName(value), nested)
    default:
      return value === null ? 'null' : renderObject(value as object, pen, nested)
  }
}

function quote(text: string, nested: boolean): string {
  return nested ? jsonStringify(text) : text
}

function functionName(value: unknown): string {
  const name = guarded(() => (value as { name?: unknown }).name)
  return typeof name === 'string' && name !== '' ? '[Function ' + name + ']' : '[Function]'
}

function renderObject(value: object, pen: Pen, nested: boolean): string {
  for (let level: Pen | null = pen; level !== null; level = level.above) {
    if (level.open === value) return quote('[Circular]', nested)
  }
  if (pen.depth >= MAX_DEPTH || pen.budget.left <= 0) return quote('[…]', nested)
  const inner: Pen = { open: value, above: pen, depth: pen.depth + 1, budget: pen.budget }
  try {
    return renderKnown(value, inner, nested)
  } catch {
    return quote('[cannot be shown]', nested)
  }
}

function renderKnown(value: object, pen: Pen, nested: boolean): string {
  if (nested && isError(value)) return jsonStringify(headline(value))
  const toJSON: unknown = (value as { toJSON?: unknown }).toJSON
  if (typeof toJSON === 'function') return render((value as { toJSON: () => unknown }).toJSON(), pen, nested)
  if (isArray(value)) return renderArray(value, pen)
  if (value instanceof MapCtor) return renderMap(value, pen)
  if (value instanceof SetCtor) return renderSet(value, pen)
  return renderRecord(value as Record<string, unknown>, pen)
}

/** Accounts for what was written and says whether to go on. */
function spend(pen: Pen, text: string): boolean {
  pen.budget.left -= text.length + 1
  return pen.budget.left > 0
}

function renderArray(items: readonly unknown[], pen: Pen): string {
  let text = ''
  for (let i = 0; i < items.length; i++) {
    const item = i in items ? render(items[i], pen, true) : 'null'
    text += (i === 0 ? '' : ',') + item
    if (!spend(pen, item)) return '[' + text + ',…]'
  }
  return '[' + text + ']'
}

function renderRecord(record: Record<string, unknown>, pen: Pen): string {
  const keys = ownKeysOf(record)
  let text = ''
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i] as string
    let item: string
    try {
      const member = record[key]
      if (member === undefined) continue
      item = jsonStringify(key) + ':' + render(member, pen, true)
    } catch {
      item = jsonStringify(key) + ':"[getter threw]"'
    }
    text += (text === '' ? '' : ',') + item
    if (!spend(pen, item)) return '{' + text + ',…}'
  }
  return '{' + text + '}'
}

function renderMap(map: Map<unknown, unknown>, pen: Pen): string {
  let text = ''
  mapForEach(map, (member, key) => {
    if (pen.budget.left <= 0) return
    const name = typeof key === 'string' ? key : render(key, pen, false)
    const item = jsonStringify(name) + ':' + render(member, pen, true)
    text += (text === '' ? '' : ',') + item
    spend(pen, item)
  })
  return '{' + text + (pen.budget.left <= 0 ? ',…}' : '}')
}

function renderSet(set: Set<unknown>, pen: Pen): string {
  let text = ''
  setForEach(set, (member) => {
    if (pen.budget.left <= 0) return
    const item = render(member, pen, true)
    text += (text === '' ? '' : ',') + item
    spend(pen, item)
  })
  return '[' + text + (pen.budget.left <= 0 ? ',…]' : ']')
}

function guarded(read: () => unknown): unknown {
  try {
    return read()
  } catch {
    return undefined
  }
}
