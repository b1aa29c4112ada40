/** `Event`, `CustomEvent`, `EventTarget`, `AbortController` and `AbortSignal`. */
import { describeThrown } from '../error_text'
import { log } from '../console'
import { setTimeout } from '../timers'
import { DOMException } from './dom_exception'

interface EventInit {
  cancelable?: boolean
}

export class Event {
  readonly type: string
  readonly cancelable: boolean
  readonly timeStamp = Date.now()
  target: EventTarget | null = null
  currentTarget: EventTarget | null = null
  defaultPrevented = false
  #stopped = false

  constructor(type: string, init: EventInit = {}) {
    this.type = String(type)
    this.cancelable = init.cancelable === true
  }

  preventDefault(): void {
    if (this.cancelable) this.defaultPrevented = true
  }

  stopPropagation(): void {}

  stopImmediatePropagation(): void {
    this.#stopped = true
  }

  static stopped(event: Event): boolean {
    return event.#stopped
  }
}

export class CustomEvent extends Event {
  readonly detail: unknown

  constructor(type: string, init: EventInit & { detail?: unknown } = {}) {
    super(type, init)
    this.detail = init.detail ?? null
  }
}

type Listener = ((event: Event) => unknown) | { handleEvent: (event: Event) => unknown }

interface Registration {
  readonly listener: Listener
  readonly once: boolean
}

export class EventTarget {
  readonly #listeners = new Map<string, Registration[]>()

  addEventListener(
    type: string,
    listener: Listener | null,
    options: boolean | { once?: boolean; signal?: AbortSignal } = {},
  ): void {
    if (listener === null || listener === undefined) return
    const { once = false, signal } = typeof options === 'object' ? options : {}
    if (signal?.aborted === true) return
    const list = this.#listeners.get(type) ?? []
    if (list.some((entry) => entry.listener === listener)) return
    this.#listeners.set(type, [...list, { listener, once }])
    signal?.addEventListener('abort', () => this.removeEventListener(type, listener), { once: true })
  }

  removeEventListener(type: string, listener: Listener | null): void {
    const list = this.#listeners.get(type) ?? []
    this.#listeners.set(
      type,
      list.filter((entry) => entry.listener !== listener),
    )
  }

  dispatchEvent(event: Event): boolean {
    event.target = event.currentTarget = this
    for (const { listener, once } of this.#listeners.get(event.type) ?? []) {
      if (once) this.removeEventListener(event.type, listener)
      notify(this, listener, event)
      if (Event.stopped(event)) break
    }
    event.currentTarget = null
    return !event.defaultPrevented
  }
}

/** A listener that throws does not keep the others from being called. */
function notify(target: EventTarget, listener: Listener, event: Event): void {
  try {
    if (typeof listener === 'function') listener.call(target, event)
    else listener.handleEvent(event)
  } catch (error) {
    log('error', ['event listener failed: ' + describeThrown(error)])
  }
}

const CREATE = Symbol('AbortSignal')

export class AbortSignal extends EventTarget {
  #reason: unknown = undefined
  onabort: ((event: Event) => unknown) | null = null

  constructor(key?: symbol) {
    if (key !== CREATE)
      throw new TypeError('AbortSignal: use an AbortController, AbortSignal.abort() or AbortSignal.timeout()')
    super()
  }

  get aborted(): boolean {
    return this.#reason !== undefined
  }

  get reason(): unknown {
    return this.#reason
  }

  throwIfAborted(): void {
    if (this.aborted) throw this.#reason
  }

  static create(): AbortSignal {
    return new AbortSignal(CREATE)
  }

  static trigger(
    signal: AbortSignal,
    reason: unknown = new DOMException('This operation was aborted', 'AbortError'),
  ): void {
    if (signal.aborted) return
    signal.#reason = reason
    const event = new Event('abort')
    if (signal.onabort !== null) notify(signal, signal.onabort, event)
    signal.dispatchEvent(event)
  }

  static abort(reason?: unknown): AbortSignal {
    const signal = AbortSignal.create()
    AbortSignal.trigger(signal, reason)
    return signal
  }

  static timeout(delayMs: number): AbortSignal {
    const signal = AbortSignal.create()
    setTimeout(() => AbortSignal.trigger(signal, new DOMException('The operation timed out', 'TimeoutError')), delayMs)
    return signal
  }

  static any(signals: Iterable<AbortSignal>): AbortSignal {
    const result = AbortSignal.create()
    for (const signal of [...signals]) {
      if (signal.aborted) AbortSignal.trigger(result, signal.reason)
      else signal.addEventListener('abort', () => AbortSignal.trigger(result, signal.reason), { once: true })
    }
    return result
  }
}

export class AbortController {
  readonly signal = AbortSignal.create()

  abort(reason?: unknown): void {
    AbortSignal.trigger(this.signal, reason)
  }
}
