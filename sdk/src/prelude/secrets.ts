/** `secrets.get`: placeholders that the host swaps for values where a request leaves. Never the values. */
import { bareTable, hasOwn, ownKeysOf, StringFn } from './primordials'

let placeholders = bareTable<string>()

/** Replaces them all: at boot, and when the guild's secrets change. */
export function setSecrets(given: Record<string, string>): void {
  const fresh = bareTable<string>()
  const names = ownKeysOf(given)
  for (let i = 0; i < names.length; i++) fresh[names[i] as string] = given[names[i] as string] as string
  placeholders = fresh
}

export const secrets = {
  get: (name: unknown): string | null => {
    const key = StringFn(name)
    return hasOwn(placeholders, key) ? (placeholders[key] as string) : null
  },
}
