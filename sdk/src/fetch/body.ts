/** What `Request` and `Response` share: a body that can be read once. It is there as a whole; there are no streams. */
import { Blob, bytesOfBlob } from './blob'
import { copyOf, scalar, utf8 } from './bytes'
import { decodeFormBody, encodeMultipart, FormData } from './form_data'
import { Headers } from './headers'
import { TextDecoder, URLSearchParams } from './shared'

/** Text stays text as long as it can: that is how it crosses to the host, and what `text` and `json` want. */
export type Content = string | Uint8Array
export type BodyInit = string | ArrayBuffer | ArrayBufferView | Blob | FormData | URLSearchParams

/** What a body is without counting as read. */
export let contentOf: (body: Body) => Content | null
/** The same, counted as read; throws when it was. */
export let takeContent: (body: Body) => Content | null

export abstract class Body {
  readonly #content: Content | null
  #used = false
  abstract readonly headers: Headers

  static {
    contentOf = (body) => {
      if (body.#used) throw new TypeError('the body has been read already')
      return body.#content
    }
    takeContent = (body) => {
      const content = contentOf(body)
      body.#used = content !== null
      return content
    }
  }

  constructor(content: Content | null) {
    this.#content = content
  }

  get bodyUsed(): boolean {
    return this.#used
  }

  async text(): Promise<string> {
    const content = takeContent(this) ?? ''
    if (typeof content !== 'string') return new TextDecoder().decode(content)
    return content.charCodeAt(0) === 0xfeff ? content.slice(1) : content
  }

  async json(): Promise<unknown> {
    return JSON.parse(await this.text())
  }

  async bytes(): Promise<Uint8Array> {
    return bytesOf(takeContent(this)).slice()
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    return bytesOf(takeContent(this)).slice().buffer as ArrayBuffer
  }

  async blob(): Promise<Blob> {
    return new Blob([bytesOf(takeContent(this))], { type: this.headers.get('content-type') ?? '' })
  }

  async formData(): Promise<FormData> {
    return decodeFormBody(bytesOf(takeContent(this)), this.headers.get('content-type') ?? '')
  }
}

function bytesOf(content: Content | null): Uint8Array {
  return typeof content === 'object' && content !== null ? content : utf8(content ?? '')
}

/** A body as the author gave it; its type goes into the headers unless they name one. */
export function contentFrom(init: unknown, headers: Headers): Content | null {
  if (init === undefined || init === null) return null
  const { content, type } = extract(init)
  if (type !== '' && !headers.has('content-type')) headers.set('content-type', type)
  return content
}

function extract(init: unknown): { content: Content; type: string } {
  if (init instanceof FormData) return encodeMultipart(init)
  if (init instanceof Blob) return { content: bytesOfBlob(init), type: init.type }
  if (init instanceof URLSearchParams)
    return { content: init.toString(), type: 'application/x-www-form-urlencoded;charset=UTF-8' }
  const bytes = copyOf(init)
  return bytes !== null ? { content: bytes, type: '' } : { content: scalar(init), type: 'text/plain;charset=UTF-8' }
}
