/** `URL`: parsing, resolving against a base, reading and changing parts. Follows the URL standard. */
import { parseHost } from './host_name'
import { encodePart, SETS } from './percent'
import { URLSearchParams } from './search_params'

const DEFAULT_PORTS: Record<string, string> = {
  'http:': '80',
  'https:': '443',
  'ws:': '80',
  'wss:': '443',
  'ftp:': '21',
  'file:': '',
}

interface Parts {
  protocol: string
  username: string
  password: string
  /** Null: the URL has no authority at all (`mailto:`). */
  host: string | null
  port: string
  /** An opaque path (`mailto:a@b`) is one string, any other is its segments. */
  path: string | string[]
  query: string | null
  fragment: string | null
}

export class URL {
  #parts: Parts
  #params: URLSearchParams | null = null

  constructor(url: string | URL, base?: string | URL) {
    const text = String(url)
    this.#parts = parse(text, base === undefined ? null : parse(String(base), null))
  }

  static canParse(url: string, base?: string): boolean {
    return URL.parse(url, base) !== null
  }

  static parse(url: string, base?: string): URL | null {
    try {
      return new URL(url, base)
    } catch {
      return null
    }
  }

  get href(): string {
    return serialise(this.#parts)
  }

  set href(value: string) {
    this.#parts = parse(String(value), null)
    this.#refreshParams()
  }

  get origin(): string {
    const { protocol } = this.#parts
    return isSpecial(protocol) && protocol !== 'file:' ? protocol + '//' + this.host : 'null'
  }

  get protocol(): string {
    return this.#parts.protocol
  }

  set protocol(value: string) {
    const match = /^([a-zA-Z][a-zA-Z0-9+.-]*):?/.exec(String(value))
    if (match === null) return
    const protocol = (match[1] as string).toLowerCase() + ':'
    if (isSpecial(protocol) !== isSpecial(this.#parts.protocol)) return
    this.#parts.protocol = protocol
    if (this.#parts.port === DEFAULT_PORTS[protocol]) this.#parts.port = ''
  }

  get username(): string {
    return this.#parts.username
  }

  set username(value: string) {
    if (this.#parts.host) this.#parts.username = encodePart(String(value), SETS.userinfo)
  }

  get password(): string {
    return this.#parts.password
  }

  set password(value: string) {
    if (this.#parts.host) this.#parts.password = encodePart(String(value), SETS.userinfo)
  }

  get host(): string {
    const { host, port } = this.#parts
    return (host ?? '') + (port === '' ? '' : ':' + port)
  }

  set host(value: string) {
    const match = /^(\[[^\]]*\]|[^:/?#\\]*)(?::(\d*))?/.exec(String(value))
    if (match === null || !this.#setHostname(match[1] as string)) return
    if (match[2]) this.port = match[2]
  }

  get hostname(): string {
    return this.#parts.host ?? ''
  }

  set hostname(value: string) {
    this.#setHostname(/^(\[[^\]]*\]|[^:/?#\\]*)/.exec(String(value))?.[1] as string)
  }

  get port(): string {
    return this.#parts.port
  }

  set port(value: string) {
    if (!this.#parts.host || this.#parts.protocol === 'file:') return
    if (String(value) === '') this.#parts.port = ''
    const digits = /^\d+/.exec(String(value))?.[0]
    if (digits !== undefined && Number(digits) < 65536) this.#parts.port = portOf(digits, this.#parts.protocol)
  }

  get pathname(): string {
    return pathText(this.#parts)
  }

  set pathname(value: string) {
    if (typeof this.#parts.path !== 'string') this.#parts.path = parsePath(String(value), this.#parts.protocol, [])
  }

  get search(): string {
    return this.#parts.query ? '?' + this.#parts.query : ''
  }

  set search(value: string) {
    const text = String(value).replace(/^\?/, '')
    this.#parts.query = text === '' ? null : encodeQuery(text, this.#parts.protocol)
    this.#refreshParams()
  }

  get searchParams(): URLSearchParams {
    return (this.#params ??= URLSearchParams.of(this.#parts.query ?? '', (text) => {
      this.#parts.query = text === '' ? null : text
    }))
  }

  get hash(): string {
    return this.#parts.fragment ? '#' + this.#parts.fragment : ''
  }

  set hash(value: string) {
    const text = String(value).replace(/^#/, '')
    this.#parts.fragment = text === '' ? null : encodePart(text, SETS.fragment)
  }

  toString(): string {
    return this.href
  }

  toJSON(): string {
    return this.href
  }

  #setHostname(text: string): boolean {
    const special = isSpecial(this.#parts.protocol)
    if (typeof this.#parts.path === 'string' || (text === '' && special)) return false
    try {
      this.#parts.host = parseHost(text, special)
      return true
    } catch {
      return false
    }
  }

  #refreshParams(): void {
    if (this.#params !== null) URLSearchParams.replace(this.#params, this.#parts.query ?? '')
  }
}

function isSpecial(protocol: string): boolean {
  return protocol in DEFAULT_PORTS
}

function portOf(digits: string, protocol: string): string {
  const port = String(Number(digits))
  return port === DEFAULT_PORTS[protocol] ? '' : port
}

function encodeQuery(text: string, protocol: string): string {
  return encodePart(text, isSpecial(protocol) ? SETS.specialQuery : SETS.query)
}

function parse(input: string, base: Parts | null): Parts {
  // Controls and spaces around the text go, tabs and line breaks inside it too.
  const text = input.replace(/^[\u0000-\u0020]+|[\u0000-\u0020]+$/g, '').replace(/[\t\n\r]/g, '')
  const scheme = /^([a-zA-Z][a-zA-Z0-9+.-]*):/.exec(text)
  const protocol = scheme === null ? null : (scheme[1] as string).toLowerCase() + ':'
  const { body, query, fragment } = split(protocol === null ? text : text.slice((scheme as RegExpExecArray)[0].length))
  const parts = protocol === null ? relative(body, query, base, input) : absolute(protocol, body, base)
  if (query !== null) parts.query = encodeQuery(query, parts.protocol)
  parts.fragment = fragment === null ? null : encodePart(fragment, SETS.fragment)
  return parts
}

function split(text: string): { body: string; query: string | null; fragment: string | null } {
  const hashAt = text.indexOf('#')
  const fragment = hashAt < 0 ? null : text.slice(hashAt + 1)
  const front = hashAt < 0 ? text : text.slice(0, hashAt)
  const queryAt = front.indexOf('?')
  return {
    body: queryAt < 0 ? front : front.slice(0, queryAt),
    query: queryAt < 0 ? null : front.slice(queryAt + 1),
    fragment,
  }
}

function fresh(protocol: string): Parts {
  return { protocol, username: '', password: '', host: null, port: '', path: [], query: null, fragment: null }
}

function absolute(protocol: string, body: string, base: Parts | null): Parts {
  const parts = fresh(protocol)
  if (isSpecial(protocol)) {
    const slashed = body.replaceAll('\\', '/')
    if (base !== null && base.protocol === protocol && !slashed.startsWith('/')) return relative(body, '', base, body)
    if (protocol === 'file:') return withFilePath(parts, slashed)
    return withAuthority(parts, slashed.replace(/^\/*/, ''))
  }
  if (body.startsWith('//')) return withAuthority(parts, body.slice(2))
  parts.path = body.startsWith('/') ? parsePath(body, protocol, []) : encodePart(body, SETS.control)
  return parts
}

function withFilePath(parts: Parts, body: string): Parts {
  const match = /^\/\/([^/]*)(.*)$/s.exec(body)
  const host = match === null ? '' : (match[1] as string)
  parts.host = host === '' || host.toLowerCase() === 'localhost' ? '' : parseHost(host, true)
  parts.path = parsePath(match === null ? body : (match[2] as string), parts.protocol, [])
  return parts
}

function withAuthority(parts: Parts, text: string): Parts {
  const pathAt = text.search(isSpecial(parts.protocol) ? /[/\\]/ : /\//)
  const authority = pathAt < 0 ? text : text.slice(0, pathAt)
  const at = authority.lastIndexOf('@')
  if (at >= 0) setCredentials(parts, authority.slice(0, at))
  const match = /^(\[[^\]]*\]|[^:]*)(?::(\d*))?$/.exec(authority.slice(at + 1))
  if (match === null || (match[2] ?? '').length > 10 || Number(match[2] ?? 0) > 65535) throw invalid(authority)
  const special = isSpecial(parts.protocol)
  const host = match[1] as string
  if (host === '' && (special || at >= 0 || match[2])) throw invalid(authority)
  parts.host = host === '' ? '' : parseHost(host, special)
  parts.port = match[2] ? portOf(match[2], parts.protocol) : ''
  const rest = pathAt < 0 ? '' : text.slice(pathAt)
  parts.path = rest === '' && !special ? [] : parsePath(rest, parts.protocol, [])
  return parts
}

function setCredentials(parts: Parts, text: string): void {
  const colon = text.indexOf(':')
  parts.username = encodePart(colon < 0 ? text : text.slice(0, colon), SETS.userinfo)
  parts.password = colon < 0 ? '' : encodePart(text.slice(colon + 1), SETS.userinfo)
}

function relative(body: string, query: string | null, base: Parts | null, input: string): Parts {
  if (base === null) throw invalid(input)
  if (typeof base.path === 'string' && (body !== '' || query !== null)) throw invalid(input)
  const parts: Parts = { ...base, fragment: null }
  const text = isSpecial(base.protocol) ? body.replaceAll('\\', '/') : body
  if (text.startsWith('//')) return withAuthority(fresh(base.protocol), text.slice(2))
  if (text === '') return parts
  parts.query = null
  parts.path = parsePath(text, base.protocol, text.startsWith('/') ? [] : (base.path as string[]).slice(0, -1))
  return parts
}

function parsePath(text: string, protocol: string, above: string[]): string[] {
  const special = isSpecial(protocol)
  const segments = (special ? text.replaceAll('\\', '/') : text).replace(/^\//, '').split('/')
  const path = [...above]
  segments.forEach((raw, index) => {
    const last = index === segments.length - 1
    const segment = raw.replace(/%2e/gi, '.')
    if (segment === '..') path.pop()
    if (segment === '.' || segment === '..') {
      if (last) path.push('')
    } else {
      path.push(encodePart(raw, SETS.path))
    }
  })
  return path
}

function pathText(parts: Parts): string {
  return typeof parts.path === 'string' ? parts.path : parts.path.map((segment) => '/' + segment).join('')
}

function serialise(parts: Parts): string {
  const { username, password, host, port } = parts
  const credentials = username === '' && password === '' ? '' : username + (password === '' ? '' : ':' + password) + '@'
  const authority = host === null ? '' : '//' + credentials + host + (port === '' ? '' : ':' + port)
  // Without an authority, a path that begins with two slashes would be read as one.
  const guard =
    host === null && typeof parts.path !== 'string' && parts.path.length > 1 && parts.path[0] === '' ? '/.' : ''
  const query = parts.query === null ? '' : '?' + parts.query
  return (
    parts.protocol + authority + guard + pathText(parts) + query + (parts.fragment === null ? '' : '#' + parts.fragment)
  )
}

function invalid(text: string): TypeError {
  return new TypeError(`Invalid URL: '${text}'`)
}
