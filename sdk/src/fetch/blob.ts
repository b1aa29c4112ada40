/** `Blob` and `File`: bytes with a type. */
import { concat, copyOf, scalar, utf8 } from './bytes'
import { TextDecoder } from './shared'

type Part = string | ArrayBuffer | ArrayBufferView | Blob

/** The bytes themselves, not a copy. */
export let bytesOfBlob: (blob: Blob) => Uint8Array

export class Blob {
  readonly #bytes: Uint8Array
  readonly type: string

  static {
    bytesOfBlob = (blob) => blob.#bytes
  }

  constructor(parts: Iterable<Part> = [], options: { type?: string } = {}) {
    if (typeof parts !== 'object' || parts === null || !(Symbol.iterator in parts))
      throw new TypeError('Blob: the parts must be a list')
    this.#bytes = concat([...parts].map(partOf))
    this.type = typeOf(options.type)
  }

  get size(): number {
    return this.#bytes.length
  }

  slice(from = 0, to = this.size, type = ''): Blob {
    return new Blob([this.#bytes.slice(from, to)], { type })
  }

  async text(): Promise<string> {
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(this.#bytes)
  }

  async bytes(): Promise<Uint8Array> {
    return this.#bytes.slice()
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    return this.#bytes.slice().buffer as ArrayBuffer
  }
}

export class File extends Blob {
  readonly name: string
  readonly lastModified: number

  constructor(parts: Iterable<Part>, name: string, options: { type?: string; lastModified?: number } = {}) {
    if (name === undefined) throw new TypeError('File: a name is needed')
    super(parts, options)
    this.name = scalar(name)
    this.lastModified = options.lastModified ?? Date.now()
  }
}

function partOf(part: Part): Uint8Array {
  if (part instanceof Blob) return bytesOfBlob(part)
  return copyOf(part) ?? utf8(scalar(part))
}

function typeOf(type: unknown): string {
  const text = String(type ?? '')
  return /^[\x20-\x7e]*$/.test(text) ? text.toLowerCase() : ''
}

