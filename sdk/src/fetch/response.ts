/** `Response`. */
import { Body, type BodyInit, type Content, contentFrom, contentOf } from './body'
import { fromBase64 } from './bytes'
import { Headers, type HeadersInit, lock } from './headers'
import { URL } from './shared'

interface ResponseInit {
  status?: number
  statusText?: string
  headers?: HeadersInit
}

/** What the host says about an answer; the body is text where it is UTF-8. */
export interface Reply {
  url: string
  status: number
  statusText: string
  headers: [string, string][]
  redirected: boolean
  text?: string
  base64?: string
}

interface Facts {
  content: Content | null
  headers: Headers
  status: number
  statusText: string
  type: string
  url: string
  redirected: boolean
}

const NO_BODY = [101, 204, 205, 304]
const REDIRECTS = [301, 302, 303, 307, 308]

/** The answer of a fetch. */
export let received: (reply: Reply) => Response

/** Marks a call of the constructor from this module. */
class Known {
  constructor(readonly facts: Facts) {}
}

export class Response extends Body {
  readonly headers: Headers
  readonly status: number
  readonly statusText: string
  readonly type: string
  readonly url: string
  readonly redirected: boolean

  static {
    received = (reply) => {
      const content = reply.base64 === undefined ? (reply.text ?? '') : fromBase64(reply.base64)
      const { url, status, statusText, redirected } = reply
      const headers = lock(new Headers(reply.headers))
      const body = NO_BODY.includes(status) ? null : content
      return known({ content: body, headers, status, statusText, type: 'basic', url, redirected })
    }
  }

  constructor(body?: BodyInit | null, init: ResponseInit = {}) {
    const facts = body instanceof Known ? body.facts : factsOf(body, init)
    super(facts.content)
    this.headers = facts.headers
    this.status = facts.status
    this.statusText = facts.statusText
    this.type = facts.type
    this.url = facts.url
    this.redirected = facts.redirected
  }

  get ok(): boolean {
    return this.status >= 200 && this.status <= 299
  }

  clone(): Response {
    const { status, statusText, type, url, redirected } = this
    const headers = new Headers(this.headers)
    if (type !== 'default') lock(headers)
    return known({ content: contentOf(this), headers, status, statusText, type, url, redirected })
  }

  static json(data: unknown, init: ResponseInit = {}): Response {
    const text = JSON.stringify(data) as string | undefined
    if (text === undefined) throw new TypeError('Response.json: the value cannot be written as JSON')
    const headers = new Headers(init.headers)
    if (!headers.has('content-type')) headers.set('content-type', 'application/json')
    return new Response(text, { ...init, headers })
  }

  static error(): Response {
    return plain(0, 'error', lock(new Headers()))
  }

  static redirect(url: string | URL, status = 302): Response {
    const target = URL.parse(String(url))
    if (target === null) throw new TypeError(`Response.redirect: '${String(url)}' is not a valid URL`)
    if (!REDIRECTS.includes(status)) throw new RangeError(`Response.redirect: ${status} is not a redirect`)
    return plain(status, 'default', lock(new Headers({ location: target.href })))
  }
}

function known(facts: Facts): Response {
  return new Response(new Known(facts) as unknown as BodyInit)
}

function plain(status: number, type: string, headers: Headers): Response {
  return known({ content: null, headers, status, statusText: '', type, url: '', redirected: false })
}

function factsOf(body: unknown, init: ResponseInit): Facts {
  const { status = 200, statusText = '' } = init ?? {}
  const headers = new Headers(init?.headers)
  const code = Number(status)
  if (!Number.isInteger(code) || code < 200 || code > 599)
    throw new RangeError(`Response: the status must be from 200 to 599, not ${String(status)}`)
  if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(String(statusText)))
    throw new TypeError('Response: the status text has characters that HTTP does not allow')
  if (body !== undefined && body !== null && NO_BODY.includes(code))
    throw new TypeError(`Response: one with status ${code} cannot have a body`)
  const content = contentFrom(body, headers)
  return { content, headers, status: code, statusText: String(statusText), type: 'default', url: '', redirected: false }
}
