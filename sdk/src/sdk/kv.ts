/** `kv` and `store`: small strings kept between events and deploys. */
import { op } from './host'

export interface KvSetOptions {
  /** Unix seconds after which the entry is gone. */
  expiration?: number | bigint
  /** Anything JSON can say. */
  metadata?: unknown
}

export interface KvListOptions {
  prefix?: string
  /** Default 100, at most 1000. */
  limit?: number
  /** From the last page. */
  cursor?: string
}

export interface KvListResult {
  keys: { name: string; expiration?: number; metadata?: unknown }[]
  listComplete: boolean
  cursor?: string
}

type Entry = [value: string, about: { metadata?: unknown } | null] | null

/** One named store of the guild. It has to exist; making this object does not create it. */
export class KvStore {
  readonly #name: string

  constructor(name: string) {
    this.#name = String(name)
  }

  /** The value, or null when there is none or it has expired. */
  get(key: string): Promise<string | null> {
    return op('op_kv_get', this.#name, String(key)) as Promise<string | null>
  }

  async getWithMetadata(key: string): Promise<{ value: string | null; metadata?: unknown }> {
    const entry = (await op('op_kv_get_with_metadata', this.#name, String(key))) as Entry
    return entry === null || entry === undefined ? { value: null } : { value: entry[0], metadata: entry[1]?.metadata }
  }

  /** Replaces value, expiration and metadata together. */
  async set(key: string, value: string, options?: KvSetOptions): Promise<void> {
    await op('op_kv_set', this.#name, String(key), String(value), options ?? null)
  }

  /** Keeps value and expiration; null clears the metadata. Rejects when there is no such key. */
  async updateMetadata(key: string, metadata?: unknown): Promise<void> {
    await op('op_kv_update_metadata', this.#name, String(key), metadata ?? null)
  }

  /** No error when there is no such key. */
  async delete(key: string): Promise<void> {
    await op('op_kv_delete', this.#name, String(key))
  }

  /** Keys in ascending byte order. */
  list(options?: KvListOptions): Promise<KvListResult> {
    return op('op_kv_list_keys', options ?? null, this.#name) as Promise<KvListResult>
  }
}

/** A store by name; the same as `kv.store(name)`. */
export const store = (name: string): KvStore => new KvStore(name)

export const kv = { store }
