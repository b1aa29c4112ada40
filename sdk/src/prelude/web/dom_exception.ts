/** `DOMException` as far as scripts meet it: a name, a message and the old number. */
const CODES: Record<string, number> = {
  InvalidCharacterError: 5,
  AbortError: 20,
  QuotaExceededError: 22,
  TimeoutError: 23,
  DataCloneError: 25,
}

export class DOMException extends Error {
  readonly code: number

  constructor(message = '', name = 'Error') {
    super(message)
    Object.defineProperty(this, 'name', { value: name, configurable: true, writable: true })
    this.code = CODES[name] ?? 0
  }
}
