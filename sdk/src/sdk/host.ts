/** The prelude's side, handed over through a global that is gone before any script runs. */
import type { SdkHost } from '../prelude/globals'

let host: SdkHost | null = null

/** Takes the hand-over and deletes it. Called once, first. */
export function takeHost(): void {
  const scope = globalThis as { __floraHost?: SdkHost }
  host = scope.__floraHost ?? null
  delete scope.__floraHost
}

/** Asks the host for an op; see `sdk/PROTOCOL.md`. */
export function op(name: string, ...args: unknown[]): Promise<unknown> {
  return hostOf().op(name, args)
}

export function hostOf(): SdkHost {
  if (host === null) throw new Error('the SDK was loaded without its host')
  return host
}
