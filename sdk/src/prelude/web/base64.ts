/** `btoa` and `atob`. */
import { DOMException } from './dom_exception'

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

/** Base64 of a string whose characters are bytes. */
export function btoa(input: string): string {
  const text = String(input)
  let encoded = ''
  for (let i = 0; i < text.length; i += 3) {
    const taken = Math.min(3, text.length - i)
    const group = (byteAt(text, i) << 16) | (byteAt(text, i + 1) << 8) | byteAt(text, i + 2)
    for (let k = 0; k < 4; k++) encoded += k <= taken ? DIGITS[(group >> (18 - 6 * k)) & 63] : '='
  }
  return encoded
}

function byteAt(text: string, at: number): number {
  if (at >= text.length) return 0
  const code = text.charCodeAt(at)
  if (code > 255)
    throw new DOMException(
      'btoa: the string has characters above U+00FF; encode it with TextEncoder first',
      'InvalidCharacterError',
    )
  return code
}

/** The bytes behind a base64 text, as a string. White space is ignored, padding may be absent. */
export function atob(input: string): string {
  let text = String(input).replace(/[\t\n\f\r ]+/g, '')
  if (text.length % 4 === 0) text = text.replace(/={1,2}$/, '')
  if (text.length % 4 === 1) throw invalid()
  let decoded = ''
  let bits = 0
  let group = 0
  for (const digit of text) {
    const value = DIGITS.indexOf(digit)
    if (value < 0) throw invalid()
    group = (group << 6) | value
    bits += 6
    if (bits >= 8) {
      bits -= 8
      decoded += String.fromCharCode((group >> bits) & 255)
      group &= (1 << bits) - 1
    }
  }
  return decoded
}

function invalid(): DOMException {
  return new DOMException('atob: the text is not base64', 'InvalidCharacterError')
}
