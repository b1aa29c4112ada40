/** `URLSearchParams`: an ordered list of names and values in `application/x-www-form-urlencoded` form. */
import { decodePercents, encodeForm } from './percent'

type Pair = [name: string, value: string]
type Init = string | Iterable<Iterable<string>> | Record<string, string> | undefined

export class URLSearchParams {
  #pairs: Pair[] = []
  #changed: ((text: string) => void) | null = null

  constructor(init: Init = '') {
    if (typeof init === 'string') this.#pairs = parse(init.startsWith('?') ? init.slice(1) : init)
    else if (init !== null && Symbol.iterator in Object(init))
      this.#pairs = [...(init as Iterable<Iterable<string>>)].map(pairOf)
    else this.#pairs = Object.entries(init as Record<string, string>).map(([name, value]) => [name, String(value)])
  }

  /** Parameters that belong to a URL: changes are told to it. */
  static of(query: string, changed: (text: string) => void): URLSearchParams {
    const params = new URLSearchParams(query)
    params.#changed = changed
    return params
  }

  /** Takes over a new query without telling the URL it came from. */
  static replace(params: URLSearchParams, query: string): void {
    params.#pairs = parse(query)
  }

  get size(): number {
    return this.#pairs.length
  }

  append(name: string, value: string): void {
    this.#set([...this.#pairs, [String(name), String(value)]])
  }

  delete(name: string, value?: string): void {
    this.#set(
      this.#pairs.filter((pair) => pair[0] !== String(name) || (value !== undefined && pair[1] !== String(value))),
    )
  }

  get(name: string): string | null {
    return this.#pairs.find((pair) => pair[0] === String(name))?.[1] ?? null
  }

  getAll(name: string): string[] {
    return this.#pairs.filter((pair) => pair[0] === String(name)).map((pair) => pair[1])
  }

  has(name: string, value?: string): boolean {
    return this.#pairs.some((pair) => pair[0] === String(name) && (value === undefined || pair[1] === String(value)))
  }

  set(name: string, value: string): void {
    const at = this.#pairs.findIndex((pair) => pair[0] === String(name))
    if (at < 0) return this.append(name, value)
    const rest = this.#pairs.filter((pair, index) => index === at || pair[0] !== String(name))
    rest[at] = [String(name), String(value)]
    this.#set(rest)
  }

  sort(): void {
    this.#set([...this.#pairs].sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0)))
  }

  forEach(visit: (value: string, name: string, params: URLSearchParams) => void, self?: unknown): void {
    for (const [name, value] of this) visit.call(self, value, name, this)
  }

  *entries(): IterableIterator<Pair> {
    for (let i = 0; i < this.#pairs.length; i++) yield [...(this.#pairs[i] as Pair)]
  }

  *keys(): IterableIterator<string> {
    for (const [name] of this) yield name
  }

  *values(): IterableIterator<string> {
    for (const [, value] of this) yield value
  }

  [Symbol.iterator](): IterableIterator<Pair> {
    return this.entries()
  }

  toString(): string {
    return this.#pairs.map(([name, value]) => encodeForm(name) + '=' + encodeForm(value)).join('&')
  }

  toJSON(): string {
    return this.toString()
  }

  #set(pairs: Pair[]): void {
    this.#pairs = pairs
    this.#changed?.(this.toString())
  }
}

function pairOf(entry: Iterable<string>): Pair {
  const [name, value, ...more] = entry
  if (name === undefined || value === undefined || more.length > 0) {
    throw new TypeError('URLSearchParams: each entry must be a name and a value')
  }
  return [String(name), String(value)]
}

function parse(query: string): Pair[] {
  const parts = query.split('&').filter((part) => part !== '')
  return parts.map((part) => {
    const at = part.indexOf('=')
    return at < 0 ? [decodeForm(part), ''] : [decodeForm(part.slice(0, at)), decodeForm(part.slice(at + 1))]
  })
}

function decodeForm(text: string): string {
  return decodePercents(text.replaceAll('+', ' '))
}
