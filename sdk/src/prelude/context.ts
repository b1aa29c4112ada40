/**
 * What a handler gets: `ctx.msg`, `ctx.reply`, `ctx.edit`, and every payload field read through to `ctx.msg`.
 *
 * `msg`, `reply` and `edit` are own members, so that `{ msg, reply } = ctx` and `{ ...ctx }` work. The fields are getters of
 * the prototype: they cost nothing per event.
 */
import { opFor } from './ops'
import { createObject, defineProperty, ErrorCtor, ownKeysOf, PromiseCtor, StringFn } from './primordials'
import type { Task } from './state'

export type Payload = Record<string, unknown>
type Options = Record<string, unknown>

const EPHEMERAL = 64

/** Every top-level field of the twelve events and of a cron run. */
const PAYLOAD_FIELDS = [
  'id',
  'ids',
  'channelId',
  'guildId',
  'content',
  'author',
  'member',
  'editedTimestamp',
  'old',
  'new',
  'user',
  'guildIds',
  'interactionId',
  'interactionToken',
  'applicationId',
  'data',
  'locale',
  'guildLocale',
  'commandName',
  'messageId',
  'userId',
  'emoji',
  'burst',
  'name',
  'scheduledAt',
] as const

/** Built fresh for each handler call; `msg` is the same object for all handlers of one dispatch. */
export class Context {
  readonly #task: Task | null
  readonly msg: Payload
  readonly reply: (options: unknown) => Promise<unknown>
  readonly edit: (options: unknown) => Promise<unknown>

  constructor(msg: Payload, task: Task | null) {
    this.#task = task
    this.msg = msg
    this.reply = (options) => reply(task, msg, options)
    this.edit = (options) => edit(task, msg, options)
  }

  /** A context of the same event with more members, or null when `ctx` is not one of ours. */
  static extend(ctx: unknown, members: Record<string, unknown>): Context | null {
    if (typeof ctx !== 'object' || ctx === null || !(#task in ctx)) return null
    const extended = new Context(ctx.msg, ctx.#task)
    const keys = ownKeysOf(members)
    for (let i = 0; i < keys.length; i++) define(extended, keys[i] as string, members[keys[i] as string])
    return extended
  }
}

function define(target: object, key: string, value: unknown): void {
  defineProperty(target, key, {
    __proto__: null,
    value,
    writable: true,
    enumerable: true,
    configurable: true,
  } as PropertyDescriptor)
}

for (let i = 0; i < PAYLOAD_FIELDS.length; i++) {
  const field = PAYLOAD_FIELDS[i] as string
  defineProperty(Context.prototype, field, {
    get(this: Context) {
      const msg: Payload | null | undefined = this.msg
      return msg === null || msg === undefined ? undefined : msg[field]
    },
    set(this: Context, value: unknown) {
      define(this, field, value)
    },
    configurable: true,
  })
}

/** First response to an interaction, or a message in the channel of the event. */
function reply(task: Task | null, msg: Payload, input: unknown): Promise<unknown> {
  const options = optionsOf(input)
  if (typeof msg.interactionToken === 'string' && msg.interactionToken !== '') {
    return opFor(task, 'op_send_interaction_response', [interactionResponse(msg, options)])
  }
  const target = replyTarget(msg, options)
  delete options.replyTo
  delete options.reply_to
  if (target !== null) options.messageId = target
  else delete options.messageId
  if (options.channelId === undefined) options.channelId = msg.channelId
  if (options.channelId === undefined || options.channelId === null) {
    return rejected('reply: this event has no channel; use rest.sendMessage with a channelId')
  }
  return opFor(task, 'op_send_message', [options])
}

function interactionResponse(msg: Payload, options: Options): Options {
  delete options.replyTo
  delete options.reply_to
  if (options.ephemeral === true && typeof options.flags === 'number') options.flags |= EPHEMERAL
  if (options.interactionId === undefined) options.interactionId = msg.interactionId ?? msg.id
  if (options.token === undefined) options.token = msg.interactionToken
  return options
}

/** The message to answer: the one asked for, none when asked with null, else the one of the event. */
function replyTarget(msg: Payload, options: Options): unknown {
  const asked = options.replyTo !== undefined ? options.replyTo : options.reply_to
  if (typeof asked === 'string') return asked
  if (asked === null) return null
  return msg.id ?? msg.messageId ?? options.messageId ?? null
}

/** Edits the message of the event, or the response to a slash command. Throws at once when there is neither. */
function edit(task: Task | null, msg: Payload, input: unknown): Promise<unknown> {
  const options = optionsOf(input)
  const messageId = options.messageId ?? msg.id ?? msg.messageId
  if (typeof messageId !== 'string' && typeof msg.interactionToken === 'string') {
    if (options.token === undefined) options.token = msg.interactionToken
    return opFor(task, 'op_edit_original_interaction_response', [options])
  }
  if (options.channelId === undefined) options.channelId = msg.channelId
  options.messageId = messageId
  if (options.channelId === undefined || options.channelId === null || messageId === undefined || messageId === null) {
    throw new ErrorCtor('edit: this event has no message to edit; use rest.editMessage with channelId and messageId')
  }
  return opFor(task, 'op_edit_message', [options])
}

/** A copy that may be changed. Without a prototype: a field that is absent is absent. */
function optionsOf(input: unknown): Options {
  const options = createObject(null) as Options
  if (typeof input !== 'object' || input === null) {
    options.content = StringFn(input)
    return options
  }
  const source =
    typeof (input as { toJSON?: unknown }).toJSON === 'function' ? (input as { toJSON: () => unknown }).toJSON() : input
  const keys = ownKeysOf(source as object)
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i] as string
    options[key] = (source as Options)[key]
  }
  return options
}

function rejected(message: string): Promise<never> {
  return new PromiseCtor<never>((_resolve, reject) => reject(new ErrorCtor(message)))
}
