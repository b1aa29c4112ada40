// The web APIs of a guild script, as far as they go.

interface FloraConsole {
  log(...data: unknown[]): void
  info(...data: unknown[]): void
  debug(...data: unknown[]): void
  warn(...data: unknown[]): void
  error(...data: unknown[]): void
  trace(...data: unknown[]): void
  assert(condition?: unknown, ...data: unknown[]): void
  dir(value?: unknown): void
  dirxml(...data: unknown[]): void
  table(data?: unknown): void
  count(label?: string): void
  countReset(label?: string): void
  time(label?: string): void
  timeLog(label?: string, ...data: unknown[]): void
  timeEnd(label?: string): void
  group(...data: unknown[]): void
  groupCollapsed(...data: unknown[]): void
  groupEnd(): void
  clear(): void
}
declare var console: FloraConsole

declare function setTimeout<Args extends unknown[]>(
  callback: (...args: Args) => unknown,
  delayMs?: number,
  ...args: Args
): number
declare function setInterval<Args extends unknown[]>(
  callback: (...args: Args) => unknown,
  delayMs?: number,
  ...args: Args
): number
declare function setImmediate<Args extends unknown[]>(callback: (...args: Args) => unknown, ...args: Args): number
declare function clearTimeout(id?: number): void
declare function clearInterval(id?: number): void
declare function clearImmediate(id?: number): void
declare function queueMicrotask(callback: () => unknown): void
declare function structuredClone<T>(value: T): T
declare function atob(text: string): string
declare function btoa(text: string): string

declare class URL {
  constructor(url: string | URL, base?: string | URL)
  static canParse(url: string, base?: string): boolean
  static parse(url: string, base?: string): URL | null
  href: string
  readonly origin: string
  protocol: string
  username: string
  password: string
  host: string
  hostname: string
  port: string
  pathname: string
  search: string
  readonly searchParams: URLSearchParams
  hash: string
  toString(): string
  toJSON(): string
}

declare class URLSearchParams {
  constructor(init?: string | Iterable<[string, string]> | Record<string, string>)
  readonly size: number
  append(name: string, value: string): void
  delete(name: string, value?: string): void
  get(name: string): string | null
  getAll(name: string): string[]
  has(name: string, value?: string): boolean
  set(name: string, value: string): void
  sort(): void
  forEach(visit: (value: string, name: string, params: URLSearchParams) => void, self?: unknown): void
  entries(): IterableIterator<[string, string]>
  keys(): IterableIterator<string>
  values(): IterableIterator<string>
  [Symbol.iterator](): IterableIterator<[string, string]>
  toString(): string
}

declare class TextEncoder {
  readonly encoding: string
  encode(text?: string): Uint8Array
  encodeInto(text: string, into: Uint8Array): { read: number; written: number }
}

/** UTF-8 only. */
declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean })
  readonly encoding: string
  readonly fatal: boolean
  readonly ignoreBOM: boolean
  decode(input?: ArrayBuffer | ArrayBufferView, options?: { stream?: boolean }): string
}

/** Random numbers good for ids and games, not for keys or passwords. */
declare var crypto: {
  getRandomValues<T extends ArrayBufferView>(array: T): T
  randomUUID(): string
}

/** Milliseconds; the resolution is one. */
declare var performance: { now(): number; readonly timeOrigin: number }

declare class DOMException extends Error {
  constructor(message?: string, name?: string)
  readonly code: number
}

declare class Event {
  constructor(type: string, init?: { cancelable?: boolean })
  readonly type: string
  readonly target: EventTarget | null
  readonly currentTarget: EventTarget | null
  readonly cancelable: boolean
  readonly defaultPrevented: boolean
  readonly timeStamp: number
  preventDefault(): void
  stopPropagation(): void
  stopImmediatePropagation(): void
}

declare class CustomEvent<T = unknown> extends Event {
  constructor(type: string, init?: { cancelable?: boolean; detail?: T })
  readonly detail: T
}

type FloraEventListener = ((event: Event) => unknown) | { handleEvent(event: Event): unknown }

declare class EventTarget {
  addEventListener(
    type: string,
    listener: FloraEventListener | null,
    options?: boolean | { once?: boolean; signal?: AbortSignal },
  ): void
  removeEventListener(type: string, listener: FloraEventListener | null): void
  dispatchEvent(event: Event): boolean
}

declare class AbortSignal extends EventTarget {
  private constructor()
  readonly aborted: boolean
  readonly reason: any
  onabort: ((event: Event) => unknown) | null
  throwIfAborted(): void
  static abort(reason?: unknown): AbortSignal
  static timeout(delayMs: number): AbortSignal
  static any(signals: Iterable<AbortSignal>): AbortSignal
}

declare class AbortController {
  readonly signal: AbortSignal
  abort(reason?: unknown): void
}

type HeadersInit = Headers | Iterable<readonly [string, string]> | Record<string, string>

/** Names are case-insensitive; several values of one name are joined by a comma, but for cookies. */
declare class Headers {
  constructor(init?: HeadersInit)
  append(name: string, value: string): void
  delete(name: string): void
  get(name: string): string | null
  getSetCookie(): string[]
  has(name: string): boolean
  set(name: string, value: string): void
  forEach(visit: (value: string, name: string, headers: Headers) => void, self?: unknown): void
  entries(): IterableIterator<[string, string]>
  keys(): IterableIterator<string>
  values(): IterableIterator<string>
  [Symbol.iterator](): IterableIterator<[string, string]>
}

declare class Blob {
  constructor(parts?: Iterable<string | ArrayBuffer | ArrayBufferView | Blob>, options?: { type?: string })
  readonly size: number
  readonly type: string
  slice(from?: number, to?: number, type?: string): Blob
  text(): Promise<string>
  bytes(): Promise<Uint8Array>
  arrayBuffer(): Promise<ArrayBuffer>
}

declare class File extends Blob {
  constructor(
    parts: Iterable<string | ArrayBuffer | ArrayBufferView | Blob>,
    name: string,
    options?: { type?: string; lastModified?: number },
  )
  readonly name: string
  readonly lastModified: number
}

declare class FormData {
  constructor()
  append(name: string, value: string): void
  append(name: string, value: Blob, fileName?: string): void
  delete(name: string): void
  get(name: string): string | File | null
  getAll(name: string): (string | File)[]
  has(name: string): boolean
  set(name: string, value: string): void
  set(name: string, value: Blob, fileName?: string): void
  forEach(visit: (value: string | File, name: string, form: FormData) => void, self?: unknown): void
  entries(): IterableIterator<[string, string | File]>
  keys(): IterableIterator<string>
  values(): IterableIterator<string | File>
  [Symbol.iterator](): IterableIterator<[string, string | File]>
}

type BodyInit = string | ArrayBuffer | ArrayBufferView | Blob | FormData | URLSearchParams

/** A body that can be read once. It is there as a whole when the promise of `fetch` resolves; there are no streams. */
interface FloraBody {
  readonly bodyUsed: boolean
  text(): Promise<string>
  /** Rejects with a SyntaxError when the body is not JSON. */
  json(): Promise<any>
  bytes(): Promise<Uint8Array>
  arrayBuffer(): Promise<ArrayBuffer>
  blob(): Promise<Blob>
  formData(): Promise<FormData>
}

interface RequestInit {
  /** GET unless said otherwise. */
  method?: string
  /** Those about the connection (`Host`, `Content-Length`, `Accept-Encoding` and the like) are flora's own and left out. */
  headers?: HeadersInit
  /** Not with GET and HEAD. At most 1 MiB, unless the operator says otherwise. */
  body?: BodyInit | null
  /** `manual` gives the redirect itself, with its `location` header. */
  redirect?: 'follow' | 'error' | 'manual'
  /** Ends the fetch when it aborts. */
  signal?: AbortSignal | null
}

declare class Request implements FloraBody {
  constructor(input: string | URL | Request, init?: RequestInit)
  readonly url: string
  readonly method: string
  readonly headers: Headers
  readonly redirect: 'follow' | 'error' | 'manual'
  readonly signal: AbortSignal
  clone(): Request
  readonly bodyUsed: boolean
  text(): Promise<string>
  json(): Promise<any>
  bytes(): Promise<Uint8Array>
  arrayBuffer(): Promise<ArrayBuffer>
  blob(): Promise<Blob>
  formData(): Promise<FormData>
}

declare class Response implements FloraBody {
  constructor(body?: BodyInit | null, init?: { status?: number; statusText?: string; headers?: HeadersInit })
  static json(data: unknown, init?: { status?: number; statusText?: string; headers?: HeadersInit }): Response
  static error(): Response
  static redirect(url: string | URL, status?: number): Response
  /** Whether the status is one of 200 to 299. An error status does not make `fetch` reject. */
  readonly ok: boolean
  readonly status: number
  readonly statusText: string
  readonly headers: Headers
  /** Where the answer came from at last, without a fragment. */
  readonly url: string
  readonly redirected: boolean
  readonly type: 'basic' | 'default' | 'error'
  clone(): Response
  readonly bodyUsed: boolean
  text(): Promise<string>
  json(): Promise<any>
  bytes(): Promise<Uint8Array>
  arrayBuffer(): Promise<ArrayBuffer>
  blob(): Promise<Blob>
  formData(): Promise<FormData>
}

/** What `fetch` rejects with when there is no answer. */
interface FetchError extends TypeError {
  /**
   * `FETCH_BLOCKED`: not a public address, a forbidden port or scheme, or fetch is switched off. `FETCH_TIMEOUT`: no complete answer in time
   * (10 s). `FETCH_TOO_LARGE`: a body or headers above the limit (5 MiB). `FETCH_FAILED`: anything else. The message says which.
   */
  readonly code: 'FETCH_BLOCKED' | 'FETCH_TIMEOUT' | 'FETCH_TOO_LARGE' | 'FETCH_FAILED'
}

/**
 * Fetches from the public internet, over http and https. Six at a time per guild, further ones wait; limits are the operator's to
 * change. Rejects with a `FetchError`, or with the reason of an aborted signal. No cookies are kept.
 *
 * The handler's own time limit (3 s) goes on while it waits: give a slow host a signal, and tell the user.
 *
 * @example
 * on('messageCreate', async (ctx) => {
 *   if (ctx.content !== '!status') return
 *   const response = await fetch('https://api.example.com/status', { signal: AbortSignal.timeout(2000) })
 *   const status: { text: string } = await response.json()
 *   await ctx.reply(response.ok ? status.text : `no answer: ${response.status}`)
 * })
 */
declare function fetch(input: string | URL | Request, init?: RequestInit): Promise<Response>
