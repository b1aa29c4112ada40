/** `createBot`: prefix and slash commands on top of `on`. */
import { hostOf } from '../host'
import { flattenCommands, subcommandTable } from './flatten'
import { flattenInteractionOptions, subcommandOption } from './options'
import type { EventContext, PrefixCommand, SlashCommand } from './types'

export interface BotOptions {
  /** What a message has to begin with. '' makes every message a command. Default '!'. */
  prefix?: string
  commands?: PrefixCommand[]
  /** Older name of `commands`; ignored when that is given. */
  prefixCommands?: PrefixCommand[]
  /** An empty list removes what was registered before; leaving it out keeps it. */
  slashCommands?: SlashCommand[]
  /** How many events of this guild may wait for Discord at the same time; 1 = strictly one after another. */
  overlap?: number
}

interface Scope {
  __floraCreateBotState?: { initialized: boolean }
  registerSlashCommands: (commands: unknown) => Promise<unknown> | undefined
}

/** Returns the command itself: a place for the type checker to help. */
export const prefix = <T extends PrefixCommand>(command: T): T => command

/** Returns the command itself: a place for the type checker to help. */
export const slash = <T extends SlashCommand>(command: T): T => command

/**
 * Listens for commands and registers the slash commands with Discord. The first call wins; later ones only leave a notice in the
 * log. Registration is not awaited here, but a deploy waits for it and fails with it.
 */
export function createBot(options: BotOptions = {}): void {
  const scope = globalThis as unknown as Scope
  if (scope.__floraCreateBotState?.initialized === true) {
    console.log('createBot was called before; this call is ignored')
    return
  }
  scope.__floraCreateBotState = { initialized: true }
  const start = options.prefix ?? '!'
  const prefixCommands = options.commands ?? options.prefixCommands ?? []
  const slashCommands = options.slashCommands ?? []
  if (options.overlap !== undefined) hostOf().setOverlap(options.overlap)
  on('messageCreate', (ctx) => runPrefixCommand(ctx, start, prefixCommands))
  on('interactionCreate', (ctx) => runSlashCommand(ctx, slashCommands))
  if (options.slashCommands !== undefined) register(scope, slashCommands)
}

function register(scope: Scope, commands: SlashCommand[]): void {
  const registration = scope.registerSlashCommands(flattenCommands(commands))
  if (registration !== undefined) hostOf().track(registration)
}

function runPrefixCommand(ctx: EventContext, start: string, commands: PrefixCommand[]): unknown {
  const { content, author } = ctx.msg
  if (!content || author?.bot === true) return undefined
  const text = content.trim()
  if (!text.startsWith(start)) return undefined
  const [name, ...args] = text.slice(start.length).trim().split(/\s+/)
  const command = commands.find((candidate) => candidate.name === name)
  return command?.run(extend(ctx, { args }))
}

function runSlashCommand(ctx: EventContext, commands: SlashCommand[]): unknown {
  const command = commands.find((candidate) => candidate.name === ctx.msg.commandName)
  if (command === undefined) return undefined
  if (command.subcommands !== undefined && command.subcommands.length > 0) return handleSubcommand(ctx, command.name)
  return command.run?.(extend(ctx, { options: flattenInteractionOptions(ctx.msg.data?.options) }))
}

/**
 * Calls the handler that `flattenCommands` remembered for the subcommand of this interaction, with its options. Returns what the
 * handler returns; undefined when there is none.
 */
export function handleSubcommand(ctx: EventContext, commandName = ctx.msg.commandName ?? ''): unknown {
  const used = subcommandOption(ctx)
  if (used === undefined) return undefined
  const runs = subcommandTable()[commandName]
  const run = runs !== undefined && Object.hasOwn(runs, used.name) ? runs[used.name] : undefined
  return run?.(extend(ctx, { options: flattenInteractionOptions(used.options) }))
}

function extend(ctx: EventContext, members: Record<string, unknown>): object {
  return hostOf().extendContext(ctx, members) ?? { ...ctx, ...members }
}
