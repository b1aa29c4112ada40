/** What this file takes from the prelude, before any script runs: ops, and the web APIs it builds on. */
import type { SdkHost } from '../prelude/globals'
import type { AbortController as AbortControllerClass, AbortSignal as AbortSignalClass } from '../prelude/web/events'
import type { TextDecoder as TextDecoderClass, TextEncoder as TextEncoderClass } from '../prelude/web/encoding'
import type { URLSearchParams as URLSearchParamsClass } from '../prelude/web/search_params'
import type { URL as URLClass } from '../prelude/web/url'

interface Scope {
  __floraHost: SdkHost
  AbortController: typeof AbortControllerClass
  AbortSignal: typeof AbortSignalClass
  TextDecoder: typeof TextDecoderClass
  TextEncoder: typeof TextEncoderClass
  URL: typeof URLClass
  URLSearchParams: typeof URLSearchParamsClass
  atob: (text: string) => string
  btoa: (text: string) => string
}

export const { AbortController, AbortSignal, TextDecoder, TextEncoder, URL, URLSearchParams, atob, btoa } =
  globalThis as unknown as Scope
export type AbortSignal = AbortSignalClass
export type URL = URLClass
export type URLSearchParams = URLSearchParamsClass

export const { op, lastOp, abandonOp } = (globalThis as unknown as Scope).__floraHost
