/**
 * Web APIs on plain V8, each built when a script first touches it: most scripts touch few, and every guild would pay for all.
 * One module each, one line below. `fetch` and what belongs to it is a file of its own, `src/fetch`.
 *
 * `require` is the bundler's: it turns the module into a function that runs on the first call.
 */
declare function require(path: './base64'): typeof import('./base64')
declare function require(path: './clone'): typeof import('./clone')
declare function require(path: './dom_exception'): typeof import('./dom_exception')
declare function require(path: './encoding'): typeof import('./encoding')
declare function require(path: './events'): typeof import('./events')
declare function require(path: './performance'): typeof import('./performance')
declare function require(path: './random'): typeof import('./random')
declare function require(path: './search_params'): typeof import('./search_params')
declare function require(path: './url'): typeof import('./url')

export function installWeb(defineLazy: (name: string, build: () => unknown) => void): void {
  defineLazy('AbortController', () => require('./events').AbortController)
  defineLazy('AbortSignal', () => require('./events').AbortSignal)
  defineLazy('CustomEvent', () => require('./events').CustomEvent)
  defineLazy('DOMException', () => require('./dom_exception').DOMException)
  defineLazy('Event', () => require('./events').Event)
  defineLazy('EventTarget', () => require('./events').EventTarget)
  defineLazy('TextDecoder', () => require('./encoding').TextDecoder)
  defineLazy('TextEncoder', () => require('./encoding').TextEncoder)
  defineLazy('URL', () => require('./url').URL)
  defineLazy('URLSearchParams', () => require('./search_params').URLSearchParams)
  defineLazy('atob', () => require('./base64').atob)
  defineLazy('btoa', () => require('./base64').btoa)
  defineLazy('crypto', () => require('./random').crypto)
  defineLazy('performance', () => require('./performance').performance)
  defineLazy('structuredClone', () => require('./clone').structuredClone)
}
