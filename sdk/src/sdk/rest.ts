/** `rest`: one method per Discord operation, each taking one options object. */
import { MessageFlags } from './constants'
import { op } from './host'

/** The operation behind a method is its name in snake_case: `fetchMessage` → `op_fetch_message`. */
export const REST_METHODS = [
  // messages
  'sendMessage',
  'editMessage',
  'deleteMessage',
  'bulkDeleteMessages',
  'pinMessage',
  'unpinMessage',
  'crosspostMessage',
  'fetchMessage',
  'fetchMessages',
  'addReaction',
  'removeReaction',
  'clearReactions',
  // interactions
  'sendInteractionResponse',
  'deferInteractionResponse',
  'updateInteractionResponse',
  'editOriginalInteractionResponse',
  'deleteOriginalInteractionResponse',
  'createFollowupMessage',
  'editFollowupMessage',
  'deleteFollowupMessage',
  // commands
  'upsertGuildCommands',
  'createGuildCommand',
  'editGuildCommand',
  'deleteGuildCommand',
  'getGuildCommands',
  'getGuildCommand',
  'editGuildCommandPermissions',
  'getGuildCommandsPermissions',
  'getGuildCommandPermissions',
  // members
  'kickMember',
  'banMember',
  'unbanMember',
  'addMemberRole',
  'removeMemberRole',
  'editMember',
  'editCurrentMember',
  // channels and threads
  'createChannel',
  'editChannel',
  'deleteChannel',
  'createThread',
  'createThreadFromMessage',
  'joinThread',
  'leaveThread',
  'addThreadMember',
  'removeThreadMember',
  // webhooks
  'executeWebhook',
  'editWebhook',
  'deleteWebhook',
] as const

export type RestMethod = (typeof REST_METHODS)[number]
type Options = Record<string, unknown>

/** Methods whose answer may be seen by one person only. */
const MAY_BE_EPHEMERAL: readonly string[] = ['sendInteractionResponse', 'createFollowupMessage']

export const rest = Object.fromEntries(REST_METHODS.map((method) => [method, call(method)])) as Record<
  RestMethod,
  (options: Options) => Promise<unknown>
>

function call(method: RestMethod): (options: Options) => Promise<unknown> {
  const name = opName(method)
  if (!MAY_BE_EPHEMERAL.includes(method)) return (options) => op(name, options)
  return (options) => op(name, withEphemeralFlag(options))
}

export function opName(method: string): string {
  return 'op_' + method.replace(/[A-Z]/g, (letter) => '_' + letter.toLowerCase())
}

/** `ephemeral: true` becomes its flag, beside whatever other flags there are. */
function withEphemeralFlag(options: Options): Options {
  if (options === null || typeof options !== 'object' || options.ephemeral !== true) return options
  const flags = typeof options.flags === 'number' ? options.flags : 0
  return { ...options, flags: flags | MessageFlags.EPHEMERAL }
}
