/** Errors, both ways: what a script threw as text for people, and what the host said as an Error for the script. */
import { inspect, inspectThrown } from './inspect'
import {
  createObject,
  defineProperty,
  ErrorCtor,
  hasOwn,
  indexOf,
  ownKeysOf,
  RangeErrorCtor,
  slice,
  TypeErrorCtor,
} from './primordials'
import type { OpFailure } from './ops'
import { limits } from './state'

/** Causes shown below an error. More would be noise, and a cause may point at itself. */
const MAX_CAUSES = 4

const ErrorPrototype = ErrorCtor.prototype

/**
 * The text of something thrown: the stack of an Error and of its causes, or the value itself. Never throws, never longer
 * than `limits.maxErrorChars`. The stack is read once: a script's own `Error.prepareStackTrace` may answer anything.
 */
export function describeThrown(thrown: unknown): string {
  let text: string
  try {
    text = withCauses(thrown)
  } catch {
    text = 'Uncaught (in promise) a value that cannot be shown'
  }
  if (text.length <= limits.maxErrorChars) return text
  return slice(text, 0, limits.maxErrorChars) + '… (' + (text.length - limits.maxErrorChars) + ' more characters)'
}

function withCauses(thrown: unknown): string {
  if (!(thrown instanceof ErrorCtor)) return 'Uncaught (in promise) ' + inspect(thrown)
  let text = inspectThrown(thrown)
  let error: Error = thrown
  for (let i = 0; i < MAX_CAUSES && hasOwn(error, 'cause'); i++) {
    const cause: unknown = error.cause
    if (cause instanceof ErrorCtor) {
      text += '\nCaused by: ' + inspectThrown(cause)
      error = cause
    } else {
      return text + '\nCaused by: ' + inspect(cause)
    }
  }
  return text
}

/** The Error a script sees for a failed op. Its frames are those of the call that asked. */
export function errorOf(failure: OpFailure | null, site: { stack?: string }): Error {
  const record: OpFailure = typeof failure === 'object' && failure !== null ? failure : {}
  const message = hasOwn(record, 'message') ? '' + record.message : 'operation failed'
  const name = hasOwn(record, 'name') ? record.name : 'Error'
  const error = create(name, message)
  const keys = ownKeysOf(record)
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i] as keyof OpFailure
    if (key !== 'message' && key !== 'name') set(error, key, record[key], true)
  }
  try {
    set(error, 'stack', headline(name, message) + framesOf(site), false)
  } catch {
    // Replacing a stack may make the engine render the old one first, through a script's `Error.prepareStackTrace`.
  }
  return error
}

function headline(name: unknown, message: string): string {
  return (name === 'TypeError' || name === 'RangeError' ? name : 'Error') + ': ' + message
}

function create(name: unknown, message: string): Error {
  try {
    if (name === 'TypeError') return new TypeErrorCtor(message)
    return name === 'RangeError' ? new RangeErrorCtor(message) : new ErrorCtor(message)
  } catch {
    // A script's `Error.prepareStackTrace` threw while the engine took the stack.
    const error = createObject(ErrorPrototype) as Error
    set(error, 'message', message, false)
    return error
  }
}

function framesOf(site: { stack?: string }): string {
  let stack: unknown
  try {
    stack = site.stack
  } catch {
    return ''
  }
  if (typeof stack !== 'string') return ''
  const firstBreak = indexOf(stack, '\n')
  return firstBreak < 0 ? '' : slice(stack, firstBreak)
}

function set(error: Error, key: string, value: unknown, enumerable: boolean): void {
  // A null prototype: a script's `Object.prototype.get` must not turn this into an accessor.
  defineProperty(error, key, {
    __proto__: null,
    value,
    enumerable,
    writable: true,
    configurable: true,
  } as PropertyDescriptor)
}
