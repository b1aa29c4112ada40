/**
 * Web APIs on plain V8. `fetch`, `Headers`, `Request` and `Response` belong here too once there is an op for them: one module
 * each, one line below.
 */
type Define = (name: string, value: unknown) => void
type DefineLazy = (name: string, build: () => unknown) => void

export function installWeb(_define: Define, _defineLazy: DefineLazy): void {}
