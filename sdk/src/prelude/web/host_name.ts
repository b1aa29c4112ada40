/** Hosts in URLs: domains (with punycode), IPv4 in all its spellings, IPv6. */
import { decodePercents, encodePart, SETS } from './percent'

const FORBIDDEN = /[\u0000\t\n\r #/:<>?@[\\\]^|]/
const FORBIDDEN_IN_DOMAIN = /[\u0000-\u0020#/:<>?@[\\\]^|%\u007f]/

/** The host as it is kept in a URL. Throws TypeError when it is none. */
export function parseHost(text: string, special: boolean): string {
  if (text.startsWith('[')) {
    if (!text.endsWith(']')) throw invalidHost(text)
    return '[' + formatIpv6(parseIpv6(text.slice(1, -1))) + ']'
  }
  if (!special) {
    if (FORBIDDEN.test(text)) throw invalidHost(text)
    return encodePart(text, SETS.control)
  }
  const domain = toAscii(decodePercents(text))
  if (domain === '' || FORBIDDEN_IN_DOMAIN.test(domain)) throw invalidHost(text)
  return endsInNumber(domain) ? parseIpv4(domain) : domain
}

function invalidHost(text: string): TypeError {
  return new TypeError(`Invalid URL: '${text}' is not a host`)
}

/** Lower case, compatibility forms folded, other scripts in punycode. Full IDNA tables are not carried. */
function toAscii(domain: string): string {
  const folded = domain
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[\u3002\uff0e\uff61]/g, '.')
    .replaceAll('\u00ad', '')
  return folded
    .split('.')
    .map((label) => (/^[\u0000-\u007f]*$/.test(label) ? label : 'xn--' + punycode(label)))
    .join('.')
}

/** RFC 3492. */
function punycode(label: string): string {
  const points = Array.from(label, (character) => character.codePointAt(0) as number)
  const basic = points.filter((point) => point < 128)
  let output = String.fromCharCode(...basic) + (basic.length > 0 ? '-' : '')
  let handled = basic.length
  let bias = 72
  let delta = 0
  let current = 128
  while (handled < points.length) {
    const next = Math.min(...points.filter((point) => point >= current))
    delta += (next - current) * (handled + 1)
    current = next
    for (const point of points) {
      if (point < current) delta++
      if (point !== current) continue
      output += variableLength(delta, bias)
      bias = adapt(delta, handled + 1, handled === basic.length)
      delta = 0
      handled++
    }
    delta++
    current++
  }
  return output
}

function variableLength(delta: number, bias: number): string {
  let text = ''
  for (let k = 36; ; k += 36) {
    const threshold = Math.min(26, Math.max(1, k - bias))
    if (delta < threshold) return text + digit(delta)
    text += digit(threshold + ((delta - threshold) % (36 - threshold)))
    delta = Math.floor((delta - threshold) / (36 - threshold))
  }
}

function digit(value: number): string {
  return String.fromCharCode(value < 26 ? value + 97 : value + 22)
}

function adapt(delta: number, length: number, first: boolean): number {
  delta = Math.floor(first ? delta / 700 : delta / 2)
  delta += Math.floor(delta / length)
  let k = 0
  while (delta > 455) {
    delta = Math.floor(delta / 35)
    k += 36
  }
  return k + Math.floor((36 * delta) / (delta + 38))
}

function endsInNumber(domain: string): boolean {
  const parts = domain.split('.')
  if (parts.at(-1) === '' && parts.length > 1) parts.pop()
  const last = parts.at(-1) as string
  return /^[0-9]+$/.test(last) || /^0x[0-9a-f]*$/.test(last)
}

function parseIpv4(text: string): string {
  const parts = text.split('.')
  if (parts.at(-1) === '') parts.pop()
  if (parts.length > 4) throw invalidHost(text)
  const numbers = parts.map((part) => ipv4Number(part, text))
  const last = numbers.pop() as number
  if (numbers.some((number) => number > 255) || last >= 256 ** (4 - numbers.length)) throw invalidHost(text)
  let address = last
  numbers.forEach((number, index) => (address += number * 256 ** (3 - index)))
  return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join('.')
}

function ipv4Number(part: string, whole: string): number {
  if (/^0x[0-9a-f]*$/.test(part)) return part === '0x' ? 0 : Number.parseInt(part, 16)
  if (/^0[0-7]*$/.test(part)) return Number.parseInt(part, 8)
  if (!/^[0-9]+$/.test(part) || /^0/.test(part)) throw invalidHost(whole)
  return Number.parseInt(part, 10)
}

function parseIpv6(text: string): number[] {
  const halves = text.split('::')
  if (halves.length > 2) throw invalidHost(text)
  const pieces = halves.map((half) =>
    half === '' ? [] : half.split(':').flatMap((piece, index, all) => ipv6Piece(piece, index === all.length - 1, text)),
  )
  const front = pieces[0] as number[]
  if (halves.length === 1) {
    if (front.length !== 8) throw invalidHost(text)
    return front
  }
  const back = pieces[1] as number[]
  if (front.length + back.length > 7) throw invalidHost(text)
  return [...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back]
}

function ipv6Piece(piece: string, last: boolean, whole: string): number[] {
  if (last && piece.includes('.')) {
    const bytes = piece.split('.').map(Number)
    if (!/^(\d{1,3}\.){3}\d{1,3}$/.test(piece) || bytes.some((byte) => byte > 255)) throw invalidHost(whole)
    return [bytes[0]! * 256 + bytes[1]!, bytes[2]! * 256 + bytes[3]!]
  }
  if (!/^[0-9a-fA-F]{1,4}$/.test(piece)) throw invalidHost(whole)
  return [Number.parseInt(piece, 16)]
}

/** The longest run of zeros becomes `::`. */
function formatIpv6(pieces: number[]): string {
  let best = { start: -1, length: 1 }
  for (let i = 0; i < 8; i++) {
    let length = 0
    while (i + length < 8 && pieces[i + length] === 0) length++
    if (length > best.length) best = { start: i, length }
  }
  const hex = pieces.map((piece) => piece.toString(16))
  if (best.start < 0) return hex.join(':')
  return hex.slice(0, best.start).join(':') + '::' + hex.slice(best.start + best.length).join(':')
}
