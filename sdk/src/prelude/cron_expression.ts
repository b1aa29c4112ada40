/**
 * Whether a cron expression can be read, so that a bad one is an error where it stands in the script. When it comes due is the host's
 * to say, and so is the last word: `actors/cron_dialect.py` reads the same dialect, a test holds the two against each other.
 */
import { bareList, indexOf, slice, toUpperCase } from './primordials'

const MAX_LENGTH = 1024
const NICKNAMES = ' @YEARLY @ANNUALLY @MONTHLY @WEEKLY @DAILY @HOURLY '
const MONTHS = 'JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC'
const WEEKDAYS = 'SUNMONTUEWEDTHUFRISAT'
const DIGITS = '0123456789'
const INVALID = 'Component error: Invalid number.'
const DAY = 3
const MONTH = 4
const WEEKDAY = 5
const LOWEST = [0, 0, 0, 1, 1, 0, 1]
const HIGHEST = [59, 59, 23, 31, 12, 7, 5000]

/** What is wrong with an expression; null: nothing. */
export function cronProblem(expression: string): string | null {
  if (expression.length > MAX_LENGTH) return 'Invalid pattern: Pattern is longer than 1024 characters.'
  const fields = split(toUpperCase(expression), ' \t\n\v\f\r')
  const count = fields.length
  if (count === 0) return 'CronPattern cannot be an empty string.'
  if (count === 1 && indexOf(NICKNAMES, ' ' + fields[0] + ' ') >= 0) return null
  if (count < 5 || count > 7) return 'Invalid pattern: Pattern must have between 5 and 7 fields.'
  for (let n = 0; n < count; n++) {
    const problem = fieldProblem(count === 5 ? n + 1 : n, fields[n] as string)
    if (problem !== null) return problem
  }
  return null
}

/** The pieces between any of these characters, without empty ones. */
function split(text: string, separators: string): string[] {
  const pieces = bareList<string>()
  let piece = ''
  for (let i = 0; i < text.length; i++) {
    const char = text[i] as string
    if (indexOf(separators, char) < 0) piece += char
    else if (piece !== '') {
      pieces[pieces.length] = piece
      piece = ''
    }
  }
  if (piece !== '') pieces[pieces.length] = piece
  return pieces
}

function fieldProblem(kind: number, field: string): string | null {
  const text = readable(kind, field)
  const allowed = DIGITS + '*,/-' + (kind === DAY ? 'LW' : kind === WEEKDAY ? 'L#' : '')
  for (let i = 0; i < text.length; i++) {
    if (indexOf(allowed, text[i] as string) < 0) return 'Pattern contains illegal characters: ' + text
  }
  const items = split(text, ',')
  for (let i = 0; i < items.length; i++) {
    const problem = itemProblem(kind, items[i] as string)
    if (problem !== null) return problem
  }
  return null
}

/** With numbers for names, and without what only says how the days go together. */
function readable(kind: number, field: string): string {
  if (kind < DAY || kind > WEEKDAY) return field
  const names = kind === MONTH ? MONTHS : kind === WEEKDAY ? WEEKDAYS : ''
  let text = ''
  for (let i = kind === WEEKDAY && field[0] === '+' ? 1 : 0; i < field.length; i++) {
    const at = names === '' || i + 3 > field.length ? -1 : indexOf(names, slice(field, i, i + 3))
    if (at >= 0 && at % 3 === 0) {
      const number = at / 3 + (kind === MONTH ? 1 : 0)
      text += number === 0 && field[i - 1] === '-' ? 7 : number // FRI-SUN is 5-7
      i += 2
    } else {
      text += field[i] === '?' && kind !== MONTH ? '*' : field[i]
    }
  }
  return text
}

function itemProblem(kind: number, item: string): string | null {
  const last = item[item.length - 1]
  const start = slice(item, 0, item.length - 1)
  if (kind === DAY && (last === 'L' || last === 'W')) {
    if (item === 'L') return null
    return last === 'W' && isNumber(start) ? rangeProblem(kind, start) : INVALID
  }
  if (kind !== WEEKDAY) return rangeProblem(kind, item)
  const hash = indexOf(item, '#')
  if (hash < 0) {
    if (last !== 'L') return rangeProblem(kind, item)
    return start === '' ? null : isNumber(start) ? rangeProblem(kind, start) : INVALID
  }
  const nth = slice(item, hash + 1)
  if (nth.length !== 1 || indexOf('12345L', nth) < 0) return 'Component error: Nth specifier out of bounds.'
  return rangeProblem(kind, slice(item, 0, hash))
}

function isNumber(text: string): boolean {
  at = 0
  return readNumber(text) >= 0 && at === text.length
}

let at = 0

/** The number that stands at `at`, which is behind it then; -1: there is none. */
function readNumber(text: string): number {
  let value = -1
  for (; at < text.length; at++) {
    const digit = indexOf(DIGITS, text[at] as string)
    if (digit < 0) break
    value = (value < 0 ? 0 : value) * 10 + digit
  }
  return value
}

/** `*`, `a`, `a-b`, each also with a step. */
function rangeProblem(kind: number, item: string): string | null {
  const low = LOWEST[kind] as number
  const high = HIGHEST[kind] as number
  const isAll = item[0] === '*'
  at = isAll ? 1 : 0
  const first = isAll ? low : readNumber(item)
  const isRange = !isAll && item[at] === '-'
  if (isRange) at++
  let last = isRange ? readNumber(item) : isAll ? high : first
  let step = 1
  if (at < item.length) {
    if (item[at] !== '/') return INVALID
    at++
    step = readNumber(item)
    if (!isRange) last = high
  }
  if (first < 0 || last < 0 || step < 0 || at !== item.length) return INVALID
  if (step === 0) return 'Component error: Step cannot be zero.'
  if (first < low || first > high) return 'Component error: Number out of bounds.'
  if (last < first || last > high) return 'Component error: Range out of bounds.'
  return null
}
