/** `kv` and `store`: what is kept between events and deploys. */
import { op } from './host'

export interface KvSetOptions {
  /** Unix seconds after which the entry is gone. */
  expiration?: number | bigint
  /** Instead: seconds from now. */
  ttl?: number
  /** Anything JSON can say. */
  metadata?: unknown
}

export interface KvListResult {
  keys: { name: string; expiration?: number; metadata?: unknown }[]
  listComplete: boolean
  cursor?: string
}

type Condition = { value?: unknown; absent?: boolean }
type Entry = [value: unknown, about: { expiration: number | null; metadata: unknown } | null] | null

/**
 * One named store of the guild, made by the first write. Values are strings, as they were in the runtime these stores come from: numbers
 * and booleans become one. Objects and arrays are kept as JSON.
 */
export class KvStore {
  readonly #name: string
  readonly #keepsTypes: boolean

  constructor(name: string, keepsTypes = false) {
    this.#name = String(name)
    this.#keepsTypes = keepsTypes === true
  }

  #op(name: string, key: string, ...more: unknown[]): Promise<unknown> {
    return op('op_kv_' + name, this.#name, String(key), ...more)
  }

  #value(value: unknown): unknown {
    const kept = this.#keepsTypes ? value : typeof value === 'object' && value !== null ? value : String(value)
    const kind = typeof kept
    if (kind === 'string' || kind === 'number' || kind === 'boolean' || (kind === 'object' && kept !== undefined)) return kept
    throw new TypeError('a value of type ' + kind + ' cannot be kept in a store')
  }

  /** What was set, or null when there is nothing or it has expired. */
  get(key: string): Promise<unknown> {
    return this.#op('get', key)
  }

  async getWithMetadata(key: string): Promise<{ value: unknown; metadata?: unknown; expiration?: number }> {
    const entry = (await this.#op('get_with_metadata', key)) as Entry
    if (entry === null || entry === undefined) return { value: null }
    const about = entry[1]
    const found: { value: unknown; metadata: unknown; expiration?: number } = { value: entry[0], metadata: about?.metadata }
    if (typeof about?.expiration === 'number') found.expiration = about.expiration
    return found
  }

  /** Replaces value, expiration and metadata together. */
  async set(key: string, value: unknown, options?: KvSetOptions): Promise<void> {
    await this.#op('set', key, this.#value(value), options ?? null)
  }

  /** `set`, if the present value is `condition.value`, or there is none and `condition.absent` is true. Says whether it was. */
  async setIf(key: string, value: unknown, condition: Condition & KvSetOptions): Promise<boolean> {
    const given = { ...condition }
    if (given.value !== undefined) given.value = this.#value(given.value)
    return (await this.#op('set_if', key, this.#value(value), given)) as boolean
  }

  /** Adds to a number in one step and gives the sum; nothing counts as 0. */
  async increment(key: string, by = 1, options?: Omit<KvSetOptions, 'metadata'>): Promise<number> {
    return (await this.#op('increment', key, by, options ?? null)) as number
  }

  /** Keeps value and expiration; null clears the metadata. Rejects when there is no such key. */
  async updateMetadata(key: string, metadata?: unknown): Promise<void> {
    await this.#op('update_metadata', key, metadata ?? null)
  }

  /** No error when there is no such key. */
  async delete(key: string): Promise<void> {
    await this.#op('delete', key)
  }

  /** Keys in ascending byte order. */
  list(options?: { prefix?: string; limit?: number; cursor?: string }): Promise<KvListResult> {
    return op('op_kv_list_keys', options ?? null, this.#name) as Promise<KvListResult>
  }
}

/** A store by name; the same as `kv.store(name)`. */
export const store = (name: string): KvStore => new KvStore(name)

class DefaultStore extends KvStore {
  store = store
}

/** The store `default`, whose values come back as what they were: `kv.set('hits', 5)` gives 5. */
export const kv = new DefaultStore('default', true)
