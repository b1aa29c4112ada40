/**
 * The entry of the SDK bundle: takes the prelude's hand-over and puts every name into the global scope and on `flora`. All are
 * ordinary properties that a script may overwrite.
 */
import { BUILDER_NAMES } from './builders/names'
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

/** The bundler's: turns the module into a function that runs on the first call. Few scripts need builders; each guild would pay. */
declare function require(path: './builders/index'): typeof import('./builders/index')

define(globalThis, 'flora', flora, false)
for (const [name, value] of Object.entries(flora)) define(globalThis, name, value, false)
for (const name of BUILDER_NAMES) {
  defineLazy(globalThis, name, false)
  defineLazy(flora, name, true)
}

function define(target: object, name: string, value: unknown, enumerable: boolean): void {
  Object.defineProperty(target, name, { value, writable: true, enumerable, configurable: true })
}

function defineLazy(target: object, name: (typeof BUILDER_NAMES)[number], enumerable: boolean): void {
  Object.defineProperty(target, name, {
    get() {
      const value: unknown = require('./builders/index')[name]
      // The bundler may have renamed a class that mentions itself.
      Object.defineProperty(value, 'name', { value: name, configurable: true })
      define(target, name, value, enumerable)
      return value
    },
    set(value: unknown) {
      define(target, name, value, enumerable)
    },
    enumerable,
    configurable: true,
  })
}
