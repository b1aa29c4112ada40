/**
 * Lengths that could never fit into the heap, refused before V8 tries.
 *
 * V8 looks at the heap limit when it collects garbage. Some of its methods allocate everything at once and end the process when that
 * fails, or work for seconds without looking up. Here the usual ones of those are asked first. It is no complete list: `+` makes
 * texts just as long. For what is left there are the heap limit, the host's memory watch, and quarantine.
 */
import {
  ArrayCtor,
  defineProperty,
  isArray,
  numberToFixed,
  ownDescriptorOf,
  RangeErrorCtor,
  reflectApply,
  toNumber,
} from './primordials'
import { limits } from './state'

type AnyMethod = (this: unknown, ...args: unknown[]) => unknown

/** One element of an array, or its reference. */
const ELEMENT_BYTES = 8
const MEGABYTE = 1024 * 1024

export function installLengths(): void {
  const text = String.prototype
  replace(text, 'repeat', (original) => ({
    repeat(this: unknown, count: unknown): unknown {
      if (typeof this === 'string') demandText('repeat', this.length * toNumber(count))
      return reflectApply(original, this, [count])
    },
  }))
  for (const name of ['padStart', 'padEnd'] as const) replace(text, name, (original) => padding(name, original))
  for (const name of ['split', 'match', 'replace', 'replaceAll'] as const)
    replace(text, name, (original) => withTwoArguments(name, original))
  replace(text, 'normalize', (original) => withTwoArguments('normalize', original))
  const lists = ['fill', 'copyWithin', 'reverse', 'sort', 'flat', 'unshift', 'with', 'toReversed', 'toSorted', 'toSpliced']
  for (const name of lists) replace(Array.prototype, name, (original) => ofList(name, original))
  replace(Array, 'from', arrayFrom)
}

function demandText(method: string, length: number): void {
  if (length > limits.maxHeapBytes) throw tooLong(method, 'a text of ' + length + ' characters')
}

function demandList(method: string, length: number): void {
  if (length * ELEMENT_BYTES > limits.maxHeapBytes) throw tooLong(method, 'an array of length ' + length)
}

function tooLong(method: string, what: string): RangeError {
  const limit = numberToFixed(limits.maxHeapBytes / MEGABYTE, 0)
  return new RangeErrorCtor(method + ': ' + what + ' cannot fit into the heap limit of ' + limit + ' MB')
}

function padding(name: string, original: AnyMethod): Record<string, AnyMethod> {
  return {
    [name](this: unknown, length: unknown, fill: unknown): unknown {
      const most = toNumber(length)
      demandText(name, most)
      return fill === undefined ? reflectApply(original, this, [most]) : reflectApply(original, this, [most, fill])
    },
  }
}

/** Methods that first make one flat text of `this`; `split` makes as many parts as there are characters. */
function withTwoArguments(name: string, original: AnyMethod): Record<string, AnyMethod> {
  return {
    [name](this: unknown, first: unknown, second: unknown): unknown {
      if (typeof this === 'string' && this.length > limits.maxHeapBytes / ELEMENT_BYTES) {
        if (name === 'split' && first === '' && second === undefined) demandList(name, this.length)
        demandText(name, this.length)
      }
      return reflectApply(original, this, [first, second])
    },
  }
}

function ofList(name: string, original: AnyMethod): Record<string, AnyMethod> {
  return {
    [name](this: unknown, ...args: unknown[]): unknown {
      if (isArray(this)) demandList(name, this.length)
      return reflectApply(original, this, args)
    },
  }
}

function arrayFrom(original: AnyMethod): Record<string, AnyMethod> {
  return {
    from(this: unknown, source: unknown, map: unknown, self: unknown): unknown {
      if (typeof source === 'object' && source !== null && (source as Iterable<unknown>)[Symbol.iterator] === undefined)
        demandList('Array.from', toNumber((source as { length?: unknown }).length))
      const owner = this === undefined ? ArrayCtor : this
      // V8 is ten times faster when there is no second argument at all.
      return map === undefined ? reflectApply(original, owner, [source]) : reflectApply(original, owner, [source, map, self])
    },
  }
}

/** Puts the member of the same name in the place of a built-in method. */
function replace(owner: object, name: string, make: (original: AnyMethod) => Record<string, AnyMethod>): void {
  const original = (owner as Record<string, AnyMethod>)[name] as AnyMethod
  const method = make(original)[name] as AnyMethod
  const length = ownDescriptorOf(original, 'length') as PropertyDescriptor
  defineProperty(method, 'length', length)
  defineProperty(owner, name, { value: method, writable: true, enumerable: false, configurable: true })
}
