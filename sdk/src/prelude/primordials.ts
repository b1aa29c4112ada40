/**
 * The built-ins the prelude uses, saved before any other code runs.
 *
 * A script may overwrite every global and every prototype. What the host relies on goes through these names only. Two more
 * rules hold in every module of this folder that the host protocol passes through:
 *
 * - `array[i] = x` on an ordinary array asks the prototype chain for a setter when the index is missing. Use `bareList()`.
 * - No `for…of`, no array spread or destructuring, no `.push`: they look methods up on prototypes. Literals, index loops,
 *   string concatenation of primitives and `await` of native promises do not.
 */

type AnyFunction = (...args: never[]) => unknown

const { bind, call } = Function.prototype

/** Turns a method into a function that takes its `this` first. */
export const uncurryThis = bind.bind(call) as unknown as (method: AnyFunction) => (self: unknown, ...args: unknown[]) => never

/** `globalThis` itself can be deleted. */
export const globalScope: object = globalThis
export const PromiseCtor = Promise
export const ErrorCtor = Error
export const TypeErrorCtor = TypeError
export const RangeErrorCtor = RangeError
export const MapCtor = Map
export const SetCtor = Set
export const StringFn = String
export const ArrayCtor = Array
export const ArrayBufferCtor = ArrayBuffer
/** Removed from the global scope later: the account of buffers is the only one that may learn what was collected. */
export const FinalizationRegistryCtor = FinalizationRegistry
export const isArray = Array.isArray
export const jsonParse = JSON.parse
export const jsonStringify = JSON.stringify
export const dateNow = Date.now
export const mathMax = Math.max
export const mathFloor = Math.floor
export const isFiniteNumber = Number.isFinite
export const isSafeInteger = Number.isSafeInteger
export const toNumber = Number
export const reflectApply = Reflect.apply
export const reflectConstruct = Reflect.construct
export const arrayFrom = Array.from as (source: unknown) => unknown[]
export const reflectGet = Reflect.get
export const ownKeysOf = Object.keys
export const ownNamesOf = Reflect.ownKeys
export const ownDescriptorOf = Object.getOwnPropertyDescriptor
export const createObject = Object.create
export const defineProperty = Object.defineProperty
export const setPrototypeOf = Object.setPrototypeOf
export const getPrototypeOf = Object.getPrototypeOf
export const captureStackTrace: ((holder: object, below?: AnyFunction) => void) | undefined = (
  Error as unknown as { captureStackTrace?: (holder: object, below?: AnyFunction) => void }
).captureStackTrace

export const hasOwn = Object.hasOwn as (target: object, key: PropertyKey) => boolean
export const mapGet = uncurryThis(Map.prototype.get) as <V>(map: Map<unknown, V>, key: unknown) => V | undefined
export const mapSet = uncurryThis(Map.prototype.set) as <V>(map: Map<unknown, V>, key: unknown, value: V) => void
export const mapDelete = uncurryThis(Map.prototype.delete) as (map: Map<unknown, unknown>, key: unknown) => boolean
export const mapForEach = uncurryThis(Map.prototype.forEach) as <V>(
  map: Map<unknown, V>,
  visit: (value: V, key: unknown) => void,
) => void
export const setForEach = uncurryThis(Set.prototype.forEach) as (
  set: Set<unknown>,
  visit: (value: unknown) => void,
) => void
export const startsWith = uncurryThis(String.prototype.startsWith) as (text: string, start: string) => boolean
export const indexOf = uncurryThis(String.prototype.indexOf) as (text: string, part: string) => number
export const slice = uncurryThis(String.prototype.slice) as (text: string, from: number, to?: number) => string
export const toUpperCase = uncurryThis(String.prototype.toUpperCase) as (text: string) => string
export const repeat = uncurryThis(String.prototype.repeat) as (text: string, count: number) => string
export const symbolToString = uncurryThis(Symbol.prototype.toString) as (symbol: symbol) => string
export const bigintToString = uncurryThis(BigInt.prototype.toString) as (value: bigint) => string
export const numberToFixed = uncurryThis(Number.prototype.toFixed) as (value: number, digits: number) => string

/** An array without a prototype: index assignment and `length` work, and no setter elsewhere can be met. */
export function bareList<T>(): T[] {
  return setPrototypeOf([], null) as T[]
}

/** An object without a prototype, for tables keyed by names a script chooses. */
export function bareTable<T>(): Record<string, T> {
  return createObject(null) as Record<string, T>
}
