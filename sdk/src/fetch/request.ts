/** `Request`. */
import { Body, type BodyInit, contentFrom, contentOf, takeContent } from './body'
import { Headers, type HeadersInit } from './headers'
import { AbortController, AbortSignal, URL } from './shared'

export interface RequestInit {
  method?: string
  headers?: HeadersInit
  body?: BodyInit | null
  redirect?: string
  signal?: AbortSignal | null
}

const KNOWN = ['DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT']
const FORBIDDEN = ['CONNECT', 'TRACE', 'TRACK']
const REDIRECTS = ['follow', 'error', 'manual']

export class Request extends Body {
  readonly url: string
  readonly method: string
  readonly headers: Headers
  readonly redirect: string
  readonly signal: AbortSignal

  constructor(input: string | URL | Request, init: RequestInit = {}) {
    if (typeof init !== 'object') throw new TypeError('Request: the options must be an object')
    const from = input instanceof Request ? input : null
    const given = init ?? {}
    const url = from === null ? urlOf(input as string | URL) : from.url
    const method = given.method === undefined ? (from?.method ?? 'GET') : methodOf(given.method)
    const headers = new Headers(given.headers ?? from?.headers)
    const bodyless = method === 'GET' || method === 'HEAD'
    if (bodyless && given.body !== undefined && given.body !== null)
      throw new TypeError(`Request: a ${method} request cannot have a body`)
    const fresh = contentFrom(given.body, headers)
    super(fresh === null && from !== null && !bodyless ? takeContent(from) : fresh)
    this.url = url
    this.method = method
    this.headers = headers
    this.redirect = redirectOf(given.redirect ?? from?.redirect ?? 'follow')
    this.signal = signalOf(given.signal === undefined ? from?.signal : given.signal)
  }

  clone(): Request {
    const body = contentOf(this)
    return new Request(this.url, {
      method: this.method,
      headers: this.headers,
      redirect: this.redirect,
      signal: this.signal,
      ...(body === null ? {} : { body }),
    })
  }
}

function urlOf(input: string | URL): string {
  const url = URL.parse(String(input))
  if (url === null) throw new TypeError(`fetch: '${String(input)}' is not a valid URL; it must be absolute`)
  if (url.username !== '' || url.password !== '')
    throw new TypeError('fetch: a URL may not carry a user name or password; use an Authorization header')
  return url.href
}

function methodOf(method: unknown): string {
  const text = String(method)
  const upper = text.toUpperCase()
  if (!/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(text) || FORBIDDEN.includes(upper))
    throw new TypeError(`Request: the method '${text}' is not allowed`)
  return KNOWN.includes(upper) ? upper : text
}

function redirectOf(redirect: unknown): string {
  const text = String(redirect)
  if (!REDIRECTS.includes(text)) throw new TypeError("Request: redirect must be 'follow', 'error' or 'manual'")
  return text
}

function signalOf(signal: unknown): AbortSignal {
  if (signal === undefined || signal === null) return new AbortController().signal
  if (!(signal instanceof AbortSignal)) throw new TypeError('Request: the signal must be an AbortSignal')
  return signal
}
