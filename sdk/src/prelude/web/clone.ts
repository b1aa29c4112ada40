/** `structuredClone` for what lives in an isolate: plain data, the built-in containers, binary data and errors. */
import { DOMException } from './dom_exception'

type Seen = Map<object, unknown>

export function structuredClone<T>(value: T): T {
  return clone(value, new Map()) as T
}

function clone(value: unknown, seen: Seen): unknown {
  if (typeof value === 'function' || typeof value === 'symbol') throw cannot(typeof value)
  if (typeof value !== 'object' || value === null) return value
  if (seen.has(value)) return seen.get(value)
  return cloneObject(value, seen)
}

function cloneObject(value: object, seen: Seen): unknown {
  if (Array.isArray(value)) return cloneMembers(value, new Array<unknown>(value.length), seen)
  if (value instanceof Date) return keep(value, new Date(value.getTime()), seen)
  if (value instanceof RegExp) return keep(value, new RegExp(value.source, value.flags), seen)
  if (value instanceof Map) return cloneMap(value, seen)
  if (value instanceof Set) return cloneSet(value, seen)
  if (value instanceof ArrayBuffer) return keep(value, value.slice(0), seen)
  if (ArrayBuffer.isView(value)) return cloneView(value, seen)
  if (value instanceof Error) return cloneError(value, seen)
  if (value instanceof Number || value instanceof String || value instanceof Boolean)
    return keep(value, Object(value.valueOf()), seen)
  if (value instanceof Promise || value instanceof WeakMap || value instanceof WeakSet || value instanceof WeakRef) {
    throw cannot(value.constructor.name)
  }
  return cloneMembers(value, {}, seen)
}

function keep<T>(value: object, copy: T, seen: Seen): T {
  seen.set(value, copy)
  return copy
}

function cloneMembers(value: object, copy: object, seen: Seen): object {
  seen.set(value, copy)
  for (const key of Object.keys(value)) {
    const member = clone((value as Record<string, unknown>)[key], seen)
    Object.defineProperty(copy, key, { value: member, writable: true, enumerable: true, configurable: true })
  }
  return copy
}

function cloneMap(map: Map<unknown, unknown>, seen: Seen): Map<unknown, unknown> {
  const copy = keep(map, new Map<unknown, unknown>(), seen)
  for (const [key, member] of [...map]) copy.set(clone(key, seen), clone(member, seen))
  return copy
}

function cloneSet(set: Set<unknown>, seen: Seen): Set<unknown> {
  const copy = keep(set, new Set<unknown>(), seen)
  for (const member of [...set]) copy.add(clone(member, seen))
  return copy
}

function cloneView(view: ArrayBufferView, seen: Seen): unknown {
  const buffer = clone(view.buffer, seen)
  const Kind = view.constructor as new (buffer: unknown, offset: number, length: number) => object
  const length = view instanceof DataView ? view.byteLength : (view as unknown as { length: number }).length
  return keep(view, new Kind(buffer, view.byteOffset, length), seen)
}

const ERROR_KINDS: Record<string, ErrorConstructor> = {
  EvalError: EvalError,
  RangeError: RangeError,
  ReferenceError: ReferenceError,
  SyntaxError: SyntaxError,
  TypeError: TypeError,
  URIError: URIError,
}

function cloneError(error: Error, seen: Seen): Error {
  const Kind = ERROR_KINDS[error.name] ?? Error
  const copy = keep(error, new Kind(error.message), seen)
  Object.defineProperty(copy, 'stack', { value: error.stack, writable: true, configurable: true })
  if (Object.hasOwn(error, 'cause')) {
    Object.defineProperty(copy, 'cause', { value: clone(error.cause, seen), writable: true, configurable: true })
  }
  return copy
}

function cannot(what: string): DOMException {
  return new DOMException(`structuredClone: a ${what} cannot be cloned`, 'DataCloneError')
}
