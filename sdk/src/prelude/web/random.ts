/** `crypto.randomUUID` and `getRandomValues`, seeded by the host at boot. Good for ids, not for keys: the generator is no cipher. */
import { DOMException } from './dom_exception'
import { entropy } from './entropy'

/** Most bytes one call may ask for, as in browsers. */
const MAX_BYTES = 65536

let words: Uint32Array | null = null

/** xoshiro128**: four words of state, 32 bits a step. */
function nextWord(): number {
  const s = (words ??= seededState())
  const result = Math.imul(rotate(Math.imul(s[1]!, 5), 7), 9) >>> 0
  const shifted = s[1]! << 9
  s[2]! ^= s[0]!
  s[3]! ^= s[1]!
  s[1]! ^= s[2]!
  s[0]! ^= s[3]!
  s[2]! ^= shifted
  s[3] = rotate(s[3]!, 11)
  return result
}

function rotate(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits))
}

function seededState(): Uint32Array {
  const seed = entropy.hex
  const state = new Uint32Array(4)
  for (let i = 0; i < 4; i++) {
    const low = Number.parseInt(seed.slice(8 * i, 8 * i + 8), 16)
    const high = Number.parseInt(seed.slice(32 + 8 * i, 40 + 8 * i), 16)
    state[i] = Number.isNaN(low) ? Math.random() * 2 ** 32 : low + Math.imul(Number.isNaN(high) ? 0 : high, 0x9e3779b1)
  }
  // A state of nothing but zeros would stay there.
  if (state.every((word) => word === 0)) state[0] = 0x9e3779b9
  return state
}

function getRandomValues<T extends ArrayBufferView>(array: T): T {
  if (
    !ArrayBuffer.isView(array) ||
    array instanceof Float32Array ||
    array instanceof Float64Array ||
    array instanceof DataView
  ) {
    throw new TypeError('getRandomValues: an integer typed array is needed')
  }
  if (array.byteLength > MAX_BYTES) {
    throw new DOMException(
      `getRandomValues: ${array.byteLength} bytes asked for, at most ${MAX_BYTES} are given`,
      'QuotaExceededError',
    )
  }
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
  for (let i = 0; i < bytes.length; i++) bytes[i] = nextWord() >>> 24
  return array
}

function randomUUID(): string {
  const bytes = getRandomValues(new Uint8Array(16))
  bytes[6] = (bytes[6]! & 0x0f) | 0x40
  bytes[8] = (bytes[8]! & 0x3f) | 0x80
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}

export const crypto = { getRandomValues, randomUUID }
