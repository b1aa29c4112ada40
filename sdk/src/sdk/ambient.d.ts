// The globals of the prelude that the SDK itself uses.

declare const console: { log(...args: unknown[]): void }
declare function on(event: string, handler: (ctx: import('./commands/types').EventContext) => unknown): void
