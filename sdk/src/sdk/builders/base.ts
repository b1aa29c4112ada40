/** What all builders share: setters that chain, `toJSON` that checks limits and resolves builders inside. */

export type Json = Record<string, unknown>

/** A component in Discord's form, or something that knows its own. */
export type ComponentLike = Json | { toJSON(): Json }

/** A range of lengths or counts, both ends allowed. */
export interface Range {
  readonly min?: number
  readonly max: number
}

export abstract class ComponentBuilder {
  /** What was set so far, by Discord's names; builders inside are still builders. */
  readonly data: Json

  constructor(type: number) {
    this.data = { type }
  }

  /** Discord's form. Throws RangeError when a limit is broken. */
  toJSON(): Json {
    this.check()
    return resolve(this.data) as Json
  }

  /** Checks limits; called by `toJSON`. */
  protected check(): void {}

  protected put(key: string, value: unknown): this {
    this.data[key] = value
    return this
  }

  /** Adds to a list, whether the items were given one by one or as an array. */
  protected append(key: string, items: readonly unknown[]): this {
    return this.put(key, [...((this.data[key] as unknown[] | undefined) ?? []), ...items.flat()])
  }

  /** Refuses a text or list outside a range. Absent members are Discord's business. */
  protected within(key: string, range: Range): void {
    checkSize(this.constructor.name, key, this.data[key], range)
  }
}

/** Throws RangeError when a text is too long or a list too big. */
export function checkSize(owner: string, key: string, value: unknown, { min = 0, max }: Range): void {
  if (typeof value !== 'string' && !Array.isArray(value)) return
  if (value.length >= min && value.length <= max) return
  const unit = typeof value === 'string' ? 'characters' : 'items'
  const allowed = min > 0 ? `${min} to ${max}` : `at most ${max}`
  throw new RangeError(`${owner}: ${key} has ${value.length} ${unit}, ${allowed} are allowed`)
}

/** A plain copy: builders become their form, members that are undefined are left out. */
export function resolve(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return (value as { toJSON(): unknown }).toJSON()
  if (Array.isArray(value)) return value.map(resolve)
  const members = Object.entries(value).filter(([, member]) => member !== undefined)
  return Object.fromEntries(members.map(([key, member]) => [key, resolve(member)]))
}
