/** `Headers`: names in lower case, values checked, several of one name joined by a comma. */

type Pair = [name: string, value: string]
export type HeadersInit = Headers | Iterable<Iterable<string>> | Record<string, string>

const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/

/** Makes headers immutable: those of an answer. */
export let lock: (headers: Headers) => Headers

export class Headers {
  #pairs: Pair[] = []
  #locked = false

  static {
    lock = (headers) => {
      headers.#locked = true
      return headers
    }
  }

  constructor(init?: HeadersInit | null) {
    if (init === undefined || init === null) return
    if (typeof init !== 'object') throw new TypeError('Headers: expected an object, a list of pairs or Headers')
    if (init instanceof Headers) this.#pairs = init.#pairs.map(([name, value]) => [name, value])
    else if (Symbol.iterator in init) for (const pair of init as Iterable<Iterable<string>>) this.#addPair(pair)
    else for (const name of Object.keys(init)) this.append(name, (init as Record<string, string>)[name] as string)
  }

  #addPair(pair: Iterable<string>): void {
    const [name, value, ...more] = pair
    if (name === undefined || value === undefined || more.length > 0) {
      throw new TypeError('Headers: each entry must be a name and a value')
    }
    this.append(name, value)
  }

  append(name: string, value: string): void {
    const pair: Pair = [nameOf(name), valueOf(value)]
    this.#writable()
    this.#pairs.push(pair)
  }

  set(name: string, value: string): void {
    const pair: Pair = [nameOf(name), valueOf(value)]
    this.#writable()
    const at = this.#pairs.findIndex((other) => other[0] === pair[0])
    if (at < 0) {
      this.#pairs.push(pair)
      return
    }
    this.#pairs = this.#pairs.filter((other, index) => index <= at || other[0] !== pair[0])
    this.#pairs[at] = pair
  }

  delete(name: string): void {
    const lower = nameOf(name)
    this.#writable()
    this.#pairs = this.#pairs.filter((pair) => pair[0] !== lower)
  }

  get(name: string): string | null {
    const values = this.#valuesOf(nameOf(name))
    return values.length === 0 ? null : values.join(', ')
  }

  has(name: string): boolean {
    return this.#valuesOf(nameOf(name)).length > 0
  }

  /** Cookies cannot be joined by a comma. */
  getSetCookie(): string[] {
    return this.#valuesOf('set-cookie')
  }

  forEach(visit: (value: string, name: string, headers: Headers) => void, self?: unknown): void {
    if (typeof visit !== 'function') throw new TypeError('Headers.forEach: the callback must be a function')
    for (const [name, value] of this) visit.call(self, value, name, this)
  }

  *entries(): IterableIterator<Pair> {
    for (let i = 0; ; i++) {
      const pair = this.#sorted()[i]
      if (pair === undefined) return
      yield pair
    }
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

  #valuesOf(lower: string): string[] {
    return this.#pairs.filter((pair) => pair[0] === lower).map((pair) => pair[1])
  }

  #sorted(): Pair[] {
    const names = [...new Set(this.#pairs.map((pair) => pair[0]))].sort()
    return names.flatMap((name): Pair[] => {
      const values = this.#valuesOf(name)
      return name === 'set-cookie' ? values.map((value): Pair => [name, value]) : [[name, values.join(', ')]]
    })
  }

  #writable(): void {
    if (this.#locked) throw new TypeError('Headers: the headers of an answer cannot be changed')
  }
}

function nameOf(name: unknown): string {
  const text = String(name)
  if (!NAME.test(text)) throw new TypeError(`Headers: '${text}' is not a valid name`)
  return text.toLowerCase()
}

function valueOf(value: unknown): string {
  const text = String(value).replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, '')
  if (!VALUE.test(text)) throw new TypeError('Headers: a value has characters that HTTP does not allow')
  return text
}
