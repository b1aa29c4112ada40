/** What a user filled in for a slash command, made flat and easy to read. */
import type { EventContext, FlatOptions, InteractionOption } from './types'

/** Discord's numbers for the two option types that only hold others. */
export const SUBCOMMAND = 1
export const SUBCOMMAND_GROUP = 2

/**
 * Name → value of every option. The options of subcommands and groups end up in the same object; a later name overwrites an
 * earlier one.
 *
 * @example
 * flattenInteractionOptions([{ name: 'who', type: 3, value: 'Ann' }]) // { who: 'Ann' }
 */
export function flattenInteractionOptions(options?: InteractionOption[] | null): FlatOptions {
  const flat: FlatOptions = {}
  collect(options, flat)
  return flat
}

const PLAIN = { writable: true, enumerable: true, configurable: true } as const

function collect(options: InteractionOption[] | null | undefined, into: FlatOptions): void {
  for (const option of options ?? []) {
    if (option.type === SUBCOMMAND || option.type === SUBCOMMAND_GROUP) collect(option.options, into)
    // Not by assignment: an option may be called `__proto__`.
    else if (option.value !== undefined) Object.defineProperty(into, option.name, { ...PLAIN, value: option.value })
  }
}

/** Name of the subcommand that was used, also inside a group; undefined for a plain command. */
export function getSubcommand(ctx: EventContext): string | undefined {
  return subcommandOption(ctx)?.name
}

/** Name of the group the used subcommand is in, if any. */
export function getSubcommandGroup(ctx: EventContext): string | undefined {
  const first = ctx.msg.data?.options?.[0]
  return first?.type === SUBCOMMAND_GROUP ? first.name : undefined
}

/** The option that stands for the used subcommand. */
export function subcommandOption(ctx: EventContext): InteractionOption | undefined {
  const first = ctx.msg.data?.options?.[0]
  const option = first?.type === SUBCOMMAND_GROUP ? first.options?.[0] : first
  return option?.type === SUBCOMMAND ? option : undefined
}

/** Whether the member who caused the event has a role; false where the event has no member. */
export function hasRole(ctx: EventContext, roleId: string): boolean {
  return ctx.msg.member?.roles?.includes(roleId) ?? false
}
