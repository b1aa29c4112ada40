/** `TextEncoder` and `TextDecoder`, UTF-8 only. */

const REPLACEMENT = 0xfffd
/** Code points turned into text at a time. */
const CHUNK = 4096
/** ASCII characters in a row from which on one call for all is quicker. */
const ASCII_RUN = 16
const NOTHING = new Uint8Array(0)
const LABELS = new Set(['utf-8', 'utf8', 'unicode-1-1-utf-8'])

export class TextEncoder {
  get encoding(): string {
    return 'utf-8'
  }

  encode(text = ''): Uint8Array {
    const input = String(text)
    const bytes = new Uint8Array(input.length * 3)
    const { written } = this.encodeInto(input, bytes)
    return bytes.slice(0, written)
  }

  /** Writes as many whole characters as fit. */
  encodeInto(text: string, into: Uint8Array): { read: number; written: number } {
    const input = String(text)
    let read = 0
    let written = 0
    while (read < input.length) {
      const given = input.codePointAt(read) as number
      const point = wellFormed(given)
      const size = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4
      if (written + size > into.length) break
      writePoint(point, size, into, written)
      written += size
      read += given < 0x10000 ? 1 : 2
    }
    return { read, written }
  }
}

function wellFormed(point: number): number {
  return point >= 0xd800 && point <= 0xdfff ? REPLACEMENT : point
}

function writePoint(point: number, size: number, into: Uint8Array, at: number): void {
  if (size === 1) {
    into[at] = point
    return
  }
  for (let i = size - 1; i > 0; i--) {
    into[at + i] = 0x80 | (point & 0x3f)
    point >>= 6
  }
  into[at] = ((0xf00 >> size) & 0xff) | point
}

export class TextDecoder {
  readonly fatal: boolean
  readonly ignoreBOM: boolean
  #rest: Uint8Array = NOTHING
  #begun = false

  constructor(label = 'utf-8', options: { fatal?: boolean; ignoreBOM?: boolean } = {}) {
    if (!LABELS.has(String(label).trim().toLowerCase()))
      throw new RangeError(`TextDecoder: the encoding '${label}' is not supported, only utf-8`)
    this.fatal = options.fatal === true
    this.ignoreBOM = options.ignoreBOM === true
  }

  get encoding(): string {
    return 'utf-8'
  }

  decode(input?: ArrayBuffer | ArrayBufferView, options: { stream?: boolean } = {}): string {
    const bytes = this.#withRest(bytesOf(input))
    let text = ''
    let points: number[] = []
    let at = 0
    while (at < bytes.length) {
      const end = asciiEnd(bytes, at)
      if (end > at) {
        text += String.fromCodePoint.apply(null, points)
        text += String.fromCharCode.apply(null, bytes.subarray(at, end) as unknown as number[])
        points = []
        at = end
        this.#begun = true
        continue
      }
      const found = readPoint(bytes, at)
      const size = found & 7
      const point = found >> 3
      if (size === 0 && options.stream === true) {
        this.#rest = bytes.slice(at)
        break
      }
      if (point < 0 && this.fatal) throw new TypeError('TextDecoder: the bytes are not valid utf-8')
      this.#append(points, point < 0 ? REPLACEMENT : point)
      at += size === 0 ? bytes.length - at : size
      if (points.length >= CHUNK) {
        text += String.fromCodePoint.apply(null, points)
        points = []
      }
    }
    if (options.stream !== true) this.#begun = false
    return text + String.fromCodePoint.apply(null, points)
  }

  /** What an earlier call left over goes first. */
  #withRest(bytes: Uint8Array): Uint8Array {
    const rest = this.#rest
    if (rest.length === 0) return bytes
    this.#rest = NOTHING
    const whole = new Uint8Array(rest.length + bytes.length)
    whole.set(rest)
    whole.set(bytes, rest.length)
    return whole
  }

  #append(points: number[], point: number): void {
    const skipped = !this.#begun && point === 0xfeff && !this.ignoreBOM
    this.#begun = true
    if (!skipped) points.push(point)
  }
}

function bytesOf(input: ArrayBuffer | ArrayBufferView | undefined): Uint8Array {
  if (input === undefined) return new Uint8Array(0)
  return ArrayBuffer.isView(input)
    ? new Uint8Array(input.buffer, input.byteOffset, input.byteLength)
    : new Uint8Array(input)
}

/** Where a run of ASCII worth a call of its own ends; `at` itself for none. */
function asciiEnd(bytes: Uint8Array, at: number): number {
  const limit = Math.min(bytes.length, at + CHUNK)
  let end = at
  while (end < limit && (bytes[end] as number) < 0x80) end++
  return end - at >= ASCII_RUN ? end : at
}

/**
 * The code point at an index times eight, plus how many bytes it takes. The point is −1 for bytes that are none; the size is 0 when the
 * input ends in the middle of one. One number rather than an object per character: megabytes are decoded here.
 */
function readPoint(bytes: Uint8Array, at: number): number {
  const lead = bytes[at] as number
  if (lead < 0x80) return (lead << 3) | 1
  const size = lead >= 0xf0 && lead <= 0xf4 ? 4 : lead >= 0xe0 && lead < 0xf0 ? 3 : lead >= 0xc2 && lead < 0xe0 ? 2 : 0
  if (size === 0) return (-1 << 3) | 1
  let point = lead & (0x7f >> size)
  for (let i = 1; i < size; i++) {
    const next = bytes[at + i]
    if (next === undefined) return -1 << 3
    if (next < lowest(lead, i) || next > highest(lead, i)) return (-1 << 3) | i
    point = (point << 6) | (next & 0x3f)
  }
  return (point << 3) | size
}

/** The second byte has a narrower range after some leads: no overlong forms, no surrogates, nothing above U+10FFFF. */
function lowest(lead: number, index: number): number {
  return index > 1 ? 0x80 : lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80
}

function highest(lead: number, index: number): number {
  return index > 1 ? 0xbf : lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf
}
