/**
 * `ArrayBuffer` and the typed arrays, counted.
 *
 * Each constructor is replaced by a function with the same prototype, so that nothing else changes for a script; the real one can be
 * reached no more. What V8 allocates by itself without asking a constructor that a script can see (`toSorted`, `with`, and `slice`,
 * `map`, `filter` of an array whose `constructor` was removed) is counted when it comes back: it is never larger than its source.
 */
import { demandRoom, hold, isHeldLast } from './memory'
import {
  ArrayBufferCtor,
  ArrayCtor,
  arrayFrom,
  defineProperty,
  getPrototypeOf,
  globalScope,
  isArray,
  ownDescriptorOf,
  ownNamesOf,
  reflectApply,
  reflectConstruct,
  setPrototypeOf,
  toNumber,
  TypeErrorCtor,
  uncurryThis,
} from './primordials'

type AnyMethod = (this: unknown, ...args: unknown[]) => unknown
type AnyCtor = (new (...args: unknown[]) => object) & { prototype: object }

/** V8 keeps typed arrays up to this size inside its heap, where they are counted anyway. */
const IN_HEAP_BYTES = 64

const TYPED_ARRAYS = [
  'Int8Array',
  'Uint8Array',
  'Uint8ClampedArray',
  'Int16Array',
  'Uint16Array',
  'Float16Array',
  'Int32Array',
  'Uint32Array',
  'Float32Array',
  'Float64Array',
  'BigInt64Array',
  'BigUint64Array',
] as const

const AbstractTypedArray = getPrototypeOf(Uint8Array) as AnyCtor
const viewPrototype = AbstractTypedArray.prototype
const bufferPrototype = ArrayBufferCtor.prototype

const bufferOf = getter<object>(viewPrototype, 'buffer')
const byteLengthOf = getter<number>(viewPrototype, 'byteLength')
const lengthOf = getter<number>(viewPrototype, 'length')
/** The name of the kind of a typed array; undefined for anything else. */
const kindOf = getter<string | undefined>(viewPrototype, Symbol.toStringTag)
const bufferBytesOf = getter<number>(bufferPrototype, 'byteLength')

function getter<T>(owner: object, key: PropertyKey): (self: unknown) => T {
  return uncurryThis((ownDescriptorOf(owner, key) as PropertyDescriptor).get as AnyMethod) as (self: unknown) => T
}

export function installBuffers(): void {
  replaceArrayBuffer()
  for (let i = 0; i < TYPED_ARRAYS.length; i++) {
    const name = TYPED_ARRAYS[i] as string
    const Original = (globalScope as Record<string, AnyCtor | undefined>)[name]
    if (Original !== undefined) replaceTypedArray(name, Original)
  }
  countResults(viewPrototype, ['slice', 'map', 'filter', 'toReversed', 'toSorted', 'with'], countedView)
  countResults(bufferPrototype, ['slice'], countedBuffer)
  countTransfers()
}

function replaceTypedArray(name: string, Original: AnyCtor): void {
  const elementBytes = (Original as unknown as { BYTES_PER_ELEMENT: number }).BYTES_PER_ELEMENT
  const inHeapLength = IN_HEAP_BYTES / elementBytes

  const Counted = function (source?: unknown, offset?: unknown, length?: unknown): object {
    const target = new.target as unknown as AnyCtor | undefined
    if (target === undefined) throw new TypeErrorCtor('Constructor ' + name + " requires 'new'")
    if (typeof source === 'number') {
      if (source <= inHeapLength) return target === Self ? new Original(source) : reflectConstruct(Original, [source], target)
      demandRoom(source * elementBytes)
    } else {
      const from = prepared(source, elementBytes)
      // A view of a buffer that exists allocates nothing.
      if (from === null) return reflectConstruct(Original, [source, offset, length], target)
      source = from.source
    }
    return countedView(target === Self ? new Original(source) : reflectConstruct(Original, [source], target))
  }
  const Self = Counted as unknown as AnyCtor
  takePlaceOf(name, Original, Self)
  setPrototypeOf(Self, AbstractTypedArray)
  countResults(Self, ['fromBase64', 'fromHex'], countedView)
}

/**
 * What a typed array is to be made of, in a form whose length cannot change any more, after asking for room. Null: a buffer.
 * Lists and iterators are copied first: their elements are in the heap, which bounds them.
 */
function prepared(source: unknown, elementBytes: number): { source: unknown } | null {
  if ((typeof source !== 'object' && typeof source !== 'function') || source === null) {
    demandRoom(typeof source === 'string' ? toNumber(source) * elementBytes : 0)
    return { source }
  }
  if (kindOf(source) !== undefined) {
    demandRoom(lengthOf(source) * elementBytes)
    return { source }
  }
  if (isArray(source)) {
    demandRoom(source.length * elementBytes)
    return { source }
  }
  if (isBuffer(source)) return null
  const list: unknown = reflectApply(arrayFrom, ArrayCtor, [source])
  demandRoom((list as unknown[]).length * elementBytes)
  return { source: list }
}

function isBuffer(value: unknown): boolean {
  try {
    bufferBytesOf(value)
    return true
  } catch {
    return false
  }
}

function replaceArrayBuffer(): void {
  const Original = ArrayBufferCtor as unknown as AnyCtor
  const Counted = function (length?: unknown, options?: unknown): object {
    const target = new.target as unknown as AnyCtor | undefined
    if (target === undefined) throw new TypeErrorCtor("Constructor ArrayBuffer requires 'new'")
    const bytes = toNumber(length)
    const limit = typeof options === 'object' && options !== null ? (options as { maxByteLength?: unknown }).maxByteLength : undefined
    // A resizable buffer counts with what it may grow to: growing needs no further leave.
    const most = limit === undefined ? bytes : toNumber(limit)
    demandRoom(most)
    const args = limit === undefined ? [bytes] : [bytes, { __proto__: null, maxByteLength: most }]
    const buffer = reflectConstruct(Original, args, target)
    hold(buffer, most > 0 ? most : 0)
    return buffer
  }
  const Self = Counted as unknown as AnyCtor
  takePlaceOf('ArrayBuffer', Original, Self)
}

/** Gives `Self` everything that can be seen of `Original`, and its place. */
function takePlaceOf(name: string, Original: AnyCtor, Self: AnyCtor): void {
  const keys = ownNamesOf(Original)
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i] as string
    defineProperty(Self, key, ownDescriptorOf(Original, key) as PropertyDescriptor)
  }
  put(Original.prototype, 'constructor', Self)
  put(globalScope, name, Self)
}

function put(owner: object, key: string, value: unknown): void {
  defineProperty(owner, key, { value, writable: true, enumerable: false, configurable: true })
}

/** Methods whose result V8 may have allocated on its own. */
function countResults(owner: object, names: readonly string[], count: (made: object) => object): void {
  for (let i = 0; i < names.length; i++) {
    const name = names[i] as string
    const original = (owner as Record<string, AnyMethod | undefined>)[name]
    if (original === undefined) continue
    const { length } = original
    const method = {
      [name](...args: unknown[]): unknown {
        return count(reflectApply(original, this, args) as object)
      },
    }[name] as AnyMethod
    defineProperty(method, 'length', { value: length, configurable: true })
    put(owner, name, method)
  }
}

function countedView(made: object): object {
  const bytes = byteLengthOf(made)
  if (bytes > IN_HEAP_BYTES) count(bufferOf(made), bytes)
  return made
}

function countedBuffer(made: object): object {
  count(made, bufferBytesOf(made))
  return made
}

/** A buffer that one of our own constructors made meanwhile is counted already. */
function count(buffer: object, bytes: number): void {
  if (isHeldLast(buffer)) return
  demandRoom(bytes)
  hold(buffer, bytes)
}

/** The new buffer may be larger than the old one, which counts until it is collected. */
function countTransfers(): void {
  const names = ['transfer', 'transferToFixedLength']
  for (let i = 0; i < names.length; i++) {
    const name = names[i] as string
    const original = (bufferPrototype as unknown as Record<string, AnyMethod | undefined>)[name]
    if (original === undefined) continue
    const mostOf = getter<number>(bufferPrototype, 'maxByteLength')
    const method = {
      [name](length?: unknown): unknown {
        const bytes = length === undefined ? bufferBytesOf(this) : toNumber(length)
        demandRoom(bytes)
        const made = reflectApply(original, this, [bytes]) as object
        hold(made, mostOf(made))
        return made
      },
    }[name] as AnyMethod
    defineProperty(method, 'length', { value: 0, configurable: true })
    put(bufferPrototype, name, method)
  }
}
