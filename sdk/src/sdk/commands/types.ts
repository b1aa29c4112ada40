/** Shapes the command modules share. What authors see stands in `types/flora.d.ts`. */

export interface InteractionOption {
  name: string
  type?: number
  value?: string | number | boolean
  options?: InteractionOption[]
}

export interface EventContext {
  msg: {
    content?: string | null
    author?: { bot?: boolean } | null
    member?: { roles?: string[] } | null
    commandName?: string | null
    data?: { options?: InteractionOption[] | null } | null
  }
}

export type FlatOptions = Record<string, string | number | boolean>
export type Run = (ctx: unknown) => unknown

export interface PrefixCommand {
  name: string
  description?: string
  run: Run
}

export interface CommandOption {
  name: string
  description: string
  type?: string
  required?: boolean
  options?: CommandOption[]
}

export interface Subcommand {
  name: string
  description: string
  options?: CommandOption[]
  run: Run
}

export interface SlashCommand {
  name: string
  description: string
  options?: CommandOption[]
  subcommands?: Subcommand[]
  run?: Run
}
