/** Commands as Discord wants them registered. */
import type { CommandOption, Run, SlashCommand, Subcommand } from './types'

/** A command as it crosses to the host: no functions, subcommands as options. */
export interface RegisteredCommand {
  name: string
  description: string
  options?: CommandOption[]
}

type SubcommandTable = Record<string, Record<string, Run>>

/** Handlers of subcommands by command and subcommand name; `__floraSubcommands` in the global scope. */
export function subcommandTable(): SubcommandTable {
  const scope = globalThis as { __floraSubcommands?: SubcommandTable }
  return (scope.__floraSubcommands ??= {})
}

/**
 * Turns commands into what `registerSlashCommands` takes, and remembers the handlers of their subcommands. A command with
 * subcommands has no options or `run` of its own: Discord never calls it bare.
 */
export function flattenCommands(commands: readonly SlashCommand[]): RegisteredCommand[] {
  return commands.map(flattenCommand)
}

function flattenCommand(command: SlashCommand): RegisteredCommand {
  const { run: _run, subcommands, options, ...rest } = command
  if (subcommands !== undefined && subcommands.length > 0) {
    subcommandTable()[command.name] = Object.fromEntries(subcommands.map((sub) => [sub.name, sub.run]))
    return { ...rest, options: subcommands.map(subcommandAsOption) }
  }
  return options === undefined ? rest : { ...rest, options }
}

function subcommandAsOption({ run: _run, options, ...rest }: Subcommand): CommandOption {
  return options === undefined ? { ...rest, type: 'subcommand' } : { ...rest, type: 'subcommand', options }
}
