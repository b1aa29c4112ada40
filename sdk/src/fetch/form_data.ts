/** `FormData`, and its two forms on the wire. */
import { Blob, bytesOfBlob, File } from './blob'
import { binaryOf, concat, fromBinary, scalar, utf8 } from './bytes'
import { TextDecoder, URLSearchParams } from './shared'

type Value = string | File
type Entry = [name: string, value: Value]

export class FormData {
  #entries: Entry[] = []

  constructor(form?: undefined) {
    if (form !== undefined) throw new TypeError('FormData: there are no forms here to read from')
  }

  append(name: string, value: string | Blob, fileName?: string): void {
    this.#entries.push([scalar(name), valueOf(value, fileName)])
  }

  set(name: string, value: string | Blob, fileName?: string): void {
    const entry: Entry = [scalar(name), valueOf(value, fileName)]
    const at = this.#entries.findIndex((other) => other[0] === entry[0])
    if (at < 0) {
      this.#entries.push(entry)
      return
    }
    this.#entries = this.#entries.filter((other, index) => index <= at || other[0] !== entry[0])
    this.#entries[at] = entry
  }

  delete(name: string): void {
    this.#entries = this.#entries.filter((entry) => entry[0] !== String(name))
  }

  get(name: string): Value | null {
    return this.#entries.find((entry) => entry[0] === String(name))?.[1] ?? null
  }

  getAll(name: string): Value[] {
    return this.#entries.filter((entry) => entry[0] === String(name)).map((entry) => entry[1])
  }

  has(name: string): boolean {
    return this.#entries.some((entry) => entry[0] === String(name))
  }

  forEach(visit: (value: Value, name: string, form: FormData) => void, self?: unknown): void {
    for (const [name, value] of this) visit.call(self, value, name, this)
  }

  *entries(): IterableIterator<Entry> {
    for (let i = 0; i < this.#entries.length; i++) yield [...(this.#entries[i] as Entry)]
  }

  *keys(): IterableIterator<string> {
    for (const [name] of this) yield name
  }

  *values(): IterableIterator<Value> {
    for (const [, value] of this) yield value
  }

  [Symbol.iterator](): IterableIterator<Entry> {
    return this.entries()
  }
}

function valueOf(value: string | Blob, fileName?: string): Value {
  if (!(value instanceof Blob)) {
    if (fileName !== undefined) throw new TypeError('FormData: only a Blob or File can have a file name')
    return scalar(value)
  }
  if (value instanceof File && fileName === undefined) return value
  const name = fileName ?? (value instanceof File ? value.name : 'blob')
  return new File([bytesOfBlob(value)], name, { type: value.type })
}

/** `multipart/form-data`: text where all entries are text, bytes where a file is among them. */
export function encodeMultipart(form: FormData): { content: string | Uint8Array; type: string } {
  const boundary = '----flora' + Math.random().toString(36).slice(2) + Math.random().toString(36).slice(2)
  const parts: (string | Uint8Array)[] = []
  for (const [name, value] of form) parts.push(`--${boundary}\r\n`, ...encodeEntry(name, value), '\r\n')
  parts.push(`--${boundary}--\r\n`)
  const plain = parts.every((part) => typeof part === 'string')
  const content = plain ? parts.join('') : concat(parts.map((part) => (typeof part === 'string' ? utf8(part) : part)))
  return { content, type: 'multipart/form-data; boundary=' + boundary }
}

function encodeEntry(name: string, value: Value): (string | Uint8Array)[] {
  const disposition = `Content-Disposition: form-data; name="${escapeName(name.replace(/\r\n?|\n/g, '\r\n'))}"`
  if (typeof value === 'string') return [`${disposition}\r\n\r\n${value.replace(/\r\n?|\n/g, '\r\n')}`]
  const type = value.type === '' ? 'application/octet-stream' : value.type
  return [
    `${disposition}; filename="${escapeName(value.name)}"\r\nContent-Type: ${type}\r\n\r\n`,
    bytesOfBlob(value),
  ]
}

function escapeName(name: string): string {
  return name.replace(/\n/g, '%0A').replace(/\r/g, '%0D').replace(/"/g, '%22')
}

/** Reads a body as a form; `type` is its `Content-Type`. */
export function decodeFormBody(bytes: Uint8Array, type: string): FormData {
  const [kind = '', ...parameters] = type.split(';').map((part) => part.trim())
  if (kind.toLowerCase() === 'application/x-www-form-urlencoded') {
    const form = new FormData()
    for (const [name, value] of new URLSearchParams(new TextDecoder().decode(bytes))) form.append(name, value)
    return form
  }
  const boundary = parameters.find((part) => /^boundary=/i.test(part))?.slice(9).replace(/^"(.*)"$/, '$1')
  if (kind.toLowerCase() !== 'multipart/form-data' || boundary === undefined || boundary === '')
    throw new TypeError(`formData: the body is not a form but '${type}'`)
  return decodeParts(binaryOf(bytes), '--' + boundary)
}

function decodeParts(text: string, mark: string): FormData {
  const form = new FormData()
  let at = text.indexOf(mark)
  while (at >= 0) {
    at += mark.length
    if (text.startsWith('--', at)) return form
    const head = text.indexOf('\r\n\r\n', at)
    const end = head < 0 ? -1 : text.indexOf('\r\n' + mark, head + 4)
    if (end < 0) break
    decodeEntry(form, text.slice(at, head), text.slice(head + 4, end))
    at = end + 2
  }
  throw new TypeError('formData: the body is not a complete multipart form')
}

function decodeEntry(form: FormData, head: string, body: string): void {
  const lines = new TextDecoder().decode(fromBinary(head))
  const name = /^content-disposition:.*;\s*name="([^"]*)"/im.exec(lines)?.[1]
  const fileName = /^content-disposition:.*;\s*filename="([^"]*)"/im.exec(lines)?.[1]
  if (name === undefined) throw new TypeError('formData: an entry has no name')
  const bytes = fromBinary(body)
  if (fileName === undefined) {
    form.append(unescapeName(name), new TextDecoder().decode(bytes))
    return
  }
  const type = /^content-type:\s*(.+?)\s*$/im.exec(lines)?.[1] ?? 'text/plain'
  form.append(unescapeName(name), new File([bytes], unescapeName(fileName), { type }))
}

function unescapeName(name: string): string {
  return name.replace(/%0A/gi, '\n').replace(/%0D/gi, '\r').replace(/%22/g, '"')
}
