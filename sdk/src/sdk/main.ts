/**
 * The entry of the SDK bundle: takes the prelude's hand-over and puts every name into the global scope and on `flora`. All are
 * ordinary properties that a script may overwrite.
 */
import { createBot, handleSubcommand, prefix, slash } from './commands/create_bot'
import { flattenCommands } from './commands/flatten'
import { flattenInteractionOptions, getSubcommand, getSubcommandGroup, hasRole } from './commands/options'
import { ButtonStyle, ButtonStyles, ComponentType, InputTextStyle, InputTextStyles, MessageFlags } from './constants'
import { takeHost } from './host'
import { kv, KvStore, store } from './kv'
import { rest } from './rest'

takeHost()

const flora = {
  createBot,
  prefix,
  slash,
  flattenCommands,
  flattenInteractionOptions,
  handleSubcommand,
  hasRole,
  getSubcommand,
  getSubcommandGroup,
  kv,
  store,
  KvStore,
  rest,
  ButtonStyle,
  ButtonStyles,
  ComponentType,
  InputTextStyle,
  InputTextStyles,
  MessageFlags,
}

for (const [name, value] of [['flora', flora], ...Object.entries(flora)] as const) {
  Object.defineProperty(globalThis, name, { value, writable: true, enumerable: false, configurable: true })
}
