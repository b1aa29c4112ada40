/** Percent-encoding as the URL standard does it: one set of characters per part of a URL. */
import { TextDecoder, TextEncoder } from './encoding'

const utf8 = new TextEncoder()

/** What each part encodes beyond controls and everything above U+007E. */
export const SETS = {
  fragment: ' "<>`',
  query: ' "#<>',
  specialQuery: ' "#<>\'',
  path: ' "#<>?^`{}',
  userinfo: ' "#<>?^`{}/:;=@[\\]|',
  control: '',
} as const

export function encodePart(text: string, set: string): string {
  let encoded = ''
  for (const character of text) {
    const code = character.codePointAt(0) as number
    encoded += code < 0x20 || code > 0x7e || set.includes(character) ? percents(character) : character
  }
  return encoded
}

/** Form encoding: everything but letters, digits and `*-._`, with `+` for a space. */
export function encodeForm(text: string): string {
  let encoded = ''
  for (const character of text) {
    encoded += /[A-Za-z0-9*\-._]/.test(character) ? character : character === ' ' ? '+' : percents(character)
  }
  return encoded
}

function percents(character: string): string {
  let text = ''
  for (const byte of utf8.encode(character)) text += '%' + byte.toString(16).toUpperCase().padStart(2, '0')
  return text
}

/** Decodes what is validly encoded and leaves the rest; bytes that are not UTF-8 become U+FFFD. */
export function decodePercents(text: string): string {
  if (!text.includes('%')) return text
  const bytes = utf8.encode(text)
  const decoded: number[] = []
  for (let i = 0; i < bytes.length; i++) {
    const pair = bytes[i] === 0x25 ? String.fromCharCode(bytes[i + 1] ?? 0, bytes[i + 2] ?? 0) : ''
    if (/^[0-9A-Fa-f]{2}$/.test(pair)) {
      decoded.push(Number.parseInt(pair, 16))
      i += 2
    } else {
      decoded.push(bytes[i] as number)
    }
  }
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(decoded))
}
