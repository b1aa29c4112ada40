/** Bytes and text, one into the other. */
import { atob, btoa, TextEncoder } from './shared'

/** As many characters as one call may have arguments, with room to spare. */
const CHUNK = 8192

interface NativeBase64 {
  toBase64?: () => string
}

/** Text without halves of surrogate pairs, which no encoding can carry. */
export function scalar(value: unknown): string {
  return String(value).replace(/[\ud800-\udfff]/gu, '\ufffd')
}

export function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

/** Each byte as one character. */
export function binaryOf(bytes: Uint8Array): string {
  let text = ''
  for (let at = 0; at < bytes.length; at += CHUNK) {
    text += String.fromCharCode.apply(null, bytes.subarray(at, at + CHUNK) as unknown as number[])
  }
  return text
}

export function fromBinary(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length)
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i)
  return bytes
}

export function toBase64(bytes: Uint8Array): string {
  const native = (bytes as NativeBase64).toBase64
  return typeof native === 'function' ? native.call(bytes) : btoa(binaryOf(bytes))
}

export function fromBase64(text: string): Uint8Array {
  const native = (Uint8Array as { fromBase64?: (text: string) => Uint8Array }).fromBase64
  return typeof native === 'function' ? native.call(Uint8Array, text) : fromBinary(atob(text))
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** A copy of the bytes behind a buffer or a view of one; null for anything else. */
export function copyOf(value: unknown): Uint8Array | null {
  if (value instanceof ArrayBuffer) return new Uint8Array(value.slice(0))
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice()
  return null
}
