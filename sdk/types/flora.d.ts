// What a guild script finds in its global scope. No imports are needed: add this file (or the package) to your project and use the
// names. Ids are decimal strings, timestamps RFC 3339 strings, absent values null.

/// <reference path="./web.d.ts" />
/// <reference path="./builders.d.ts" />

// ---- payloads

interface FloraUser {
  id: string
  username: string
  discriminator: number | null
  bot: boolean
}

interface FloraMember {
  user: FloraUser
  nick: string | null
  avatar: string | null
  roles: string[]
  joinedAt: string | null
  premiumSince: string | null
  deaf: boolean
  mute: boolean
  flags: number
  pending: boolean
  /** Decimal bit set; only in interactions. */
  permissions: string | null
  communicationDisabledUntil: string | null
}

interface FloraMessage {
  id: string
  channelId: string
  guildId: string
  content: string
  author: FloraUser
  member: FloraMember | null
}

interface FloraMessageUpdate {
  id: string
  channelId: string
  guildId: string
  content: string
  author: FloraUser
  editedTimestamp: string | null
  old: FloraMessage | null
  new: FloraMessage | null
}

interface FloraMessageDelete {
  id: string
  channelId: string
  guildId: string
}

interface FloraMessageDeleteBulk {
  ids: string[]
  channelId: string
  guildId: string
}

interface FloraEmoji {
  name: string | null
  id?: string
  animated?: boolean
}

interface FloraReaction {
  /** Null when all reactions of one emoji were removed. */
  userId: string | null
  channelId: string
  messageId: string
  guildId: string
  emoji: FloraEmoji
  burst: boolean
}

interface FloraReactionRemoveAll {
  messageId: string
  channelId: string
  guildId: string
}

interface FloraReady {
  user: FloraUser
  /** Always empty: a script knows its own guild only. */
  guildIds: string[]
}

interface FloraInteractionBase {
  interactionId: string
  interactionToken: string
  applicationId: string
  guildId: string
  channelId: string | null
  user: FloraUser
  member: FloraMember | null
  locale: string | null
  guildLocale: string | null
}

interface FloraInteractionOption {
  name: string
  /** Discord's number: 1 subcommand, 2 group, 3 string, 4 integer, 5 boolean, 6 user, 7 channel, 8 role, 9 mentionable, 10 number. */
  type: number
  value?: string | number | boolean
  options?: FloraInteractionOption[]
}

interface FloraCommandInteraction extends FloraInteractionBase {
  commandName: string
  data: {
    id: string
    name: string
    type: number
    resolved?: Record<string, Record<string, unknown>>
    options?: FloraInteractionOption[]
    guild_id?: string
    target_id?: string | null
  }
}

interface FloraComponentInteraction extends FloraInteractionBase {
  messageId: string
  data: {
    custom_id: string
    component_type: number
    /** What was chosen in a select; null for a button. */
    values: string[] | null
  }
}

interface FloraModalSubmit extends FloraInteractionBase {
  /** Null when the modal was not opened from a message. */
  messageId: string | null
  data: { custom_id: string; components: unknown[] }
}

interface FloraCronRun {
  name: string
  /** When the run was started by the scheduler. */
  scheduledAt: string
}

/** Every event there is, and what comes with it. */
interface FloraEventMap {
  ready: FloraReady
  messageCreate: FloraMessage
  messageUpdate: FloraMessageUpdate
  messageDelete: FloraMessageDelete
  messageDeleteBulk: FloraMessageDeleteBulk
  interactionCreate: FloraCommandInteraction
  componentInteraction: FloraComponentInteraction
  modalSubmit: FloraModalSubmit
  reactionAdd: FloraReaction
  reactionRemove: FloraReaction
  reactionRemoveEmoji: FloraReaction
  reactionRemoveAll: FloraReactionRemoveAll
}

// ---- contexts

/** What goes into a message. At least one of content, embeds, attachments and components. */
interface FloraMessageBody {
  content?: string
  embeds?: (FloraEmbed | EmbedBuilder)[]
  attachments?: FloraAttachment[]
  components?: FloraComponent[]
  tts?: boolean
  allowedMentions?: FloraAllowedMentions
  /** Bits of `MessageFlags`. */
  flags?: number
}

interface MessageReplyOptions extends FloraMessageBody {
  /** Another message to reply to; null for none. Default: the message of the event. */
  replyTo?: string | null
  /** Interactions only: seen by the user alone. Combines with `flags`. */
  ephemeral?: boolean
}

interface MessageEditOptions {
  content?: string
  embeds?: (FloraEmbed | EmbedBuilder)[]
  components?: FloraComponent[]
  allowedMentions?: FloraAllowedMentions
  flags?: number
}

interface FloraContextBase<Payload> {
  /** The payload; the same object for all handlers of one event. */
  readonly msg: Payload
  /**
   * Answers: the first response to an interaction, else a message in the channel of the event. Await it. Resolves to the message
   * created, in Discord's own form, or to nothing for an interaction.
   */
  reply(options: string | MessageReplyOptions): Promise<DiscordObject | undefined>
  /**
   * Edits the message of the event, or the response to a slash command. Throws at once when the event has neither.
   */
  edit(options: string | MessageEditOptions): Promise<DiscordObject | undefined>
}

/** A handler's argument. The payload's fields can be read from it directly: `ctx.content` is `ctx.msg.content`. */
type FloraContext<Payload> = FloraContextBase<Payload> & Readonly<Omit<Payload, keyof FloraContextBase<Payload>>>

type EventContext<Event extends keyof FloraEventMap> = FloraContext<FloraEventMap[Event]>
type PrefixContext = EventContext<'messageCreate'> & { readonly args: string[] }
type FloraOptionValues = Record<string, string | number | boolean>
type SlashContext<Options = FloraOptionValues> = EventContext<'interactionCreate'> & { readonly options: Options }
type CronContext = FloraContext<FloraCronRun>

/** An object as Discord sends it: snake_case, ids as strings. */
type DiscordObject = { id: string } & Record<string, any>

// ---- messages

interface FloraEmbed {
  title?: string
  description?: string
  url?: string
  /** 0xRRGGBB */
  color?: number
  timestamp?: string
  footer?: { text: string; iconUrl?: string }
  image?: { url: string }
  thumbnail?: { url: string }
  author?: { name: string; url?: string; iconUrl?: string }
  fields?: { name: string; value: string; inline?: boolean }[]
}

type FloraAttachment =
  | { url: { url: string; filename?: string; description?: string } }
  | { base64: { data: string; filename: string; description?: string } }
  | { Url: { url: string; filename?: string; description?: string } }
  | { Base64: { data: string; filename: string; description?: string } }

interface FloraAllowedMentions {
  parse?: ('everyone' | 'users' | 'roles')[]
  users?: string[]
  roles?: string[]
  repliedUser?: boolean
}

/** A component in Discord's form, or a builder. */
type FloraComponent = { type: number; [key: string]: unknown } | { toJSON(): { type: number } }

// ---- events and commands

declare function on<Event extends keyof FloraEventMap>(
  event: Event,
  handler: (ctx: EventContext<Event>) => unknown,
): void
/** Any other name, for a dispatcher of your own. */
declare function on(event: string & {}, handler: (ctx: FloraContext<Record<string, any>>) => unknown): void

/**
 * Runs a handler on a schedule, in UTC: five fields, or six with leading seconds, or seven with the year at the end.
 *
 * A run that comes due while the one before goes on waits for it, one at most; with `skipIfRunning` it is left out. What came due
 * while flora was down is left out as well; with `catchUp: 'once'` there is one run for it.
 *
 * @example
 * cron('morning', '0 8 * * *', async () => {
 *   await rest.sendMessage({ channelId: '1', content: 'Good morning' })
 * })
 */
declare function cron(
  name: string,
  expression: string,
  handler: (ctx: CronContext) => unknown,
  options?: { skipIfRunning?: boolean; catchUp?: 'once' | 'none' },
): void

/** Replaces the guild's slash commands. `createBot` does it for you. */
declare function registerSlashCommands(commands: FloraRegisteredCommand[]): Promise<unknown> | undefined

interface FloraPrefixCommand {
  /** One word, without the prefix; case matters. */
  name: string
  description?: string
  run(ctx: PrefixContext): unknown
}

interface FloraCommandOption {
  name: string
  description: string
  /** Default: string. */
  type?: 'string' | 'integer' | 'number' | 'boolean' | 'subcommand' | 'subcommand_group'
  required?: boolean
  options?: readonly FloraCommandOption[]
}

interface FloraSubcommand {
  name: string
  description: string
  options?: readonly FloraCommandOption[]
  run(ctx: SlashContext): unknown
}

interface FloraSlashCommand {
  name: string
  description: string
  options?: readonly FloraCommandOption[]
  /** With these, the command's own `options` and `run` are not used. */
  subcommands?: readonly FloraSubcommand[]
  run?(ctx: SlashContext): unknown
}

interface FloraRegisteredCommand {
  name: string
  description: string
  options?: readonly FloraCommandOption[]
}

type FloraOptionTypes = { string: string; integer: number; number: number; boolean: boolean }
type FloraOptionType<Option> = Option extends { type: infer Type }
  ? Type extends keyof FloraOptionTypes
    ? FloraOptionTypes[Type]
    : never
  : string

/** The values a command's options give: required ones always, the others perhaps. */
type FloraOptionsOf<Options extends readonly FloraCommandOption[]> = {
  [Option in Options[number] as Option extends { required: true } ? Option['name'] : never]: FloraOptionType<Option>
} & {
  [Option in Options[number] as Option extends { required: true } ? never : Option['name']]?: FloraOptionType<Option>
}

/**
 * A prefix command, checked.
 *
 * @example
 * createBot({ commands: [prefix({ name: 'ping', run: (ctx) => ctx.reply('Pong!') })] })
 */
declare function prefix(command: FloraPrefixCommand): FloraPrefixCommand

/**
 * A slash command, checked; `ctx.options` knows the options you declared.
 *
 * @example
 * const roll = slash({
 *   name: 'roll',
 *   description: 'Rolls a die',
 *   options: [{ name: 'sides', description: 'How many', type: 'integer', required: true }],
 *   run: (ctx) => ctx.reply(`${1 + Math.floor(Math.random() * ctx.options.sides)}`),
 * })
 * createBot({ slashCommands: [roll] })
 */
declare function slash<const Options extends readonly FloraCommandOption[]>(command: {
  name: string
  description: string
  options: Options
  run(ctx: SlashContext<FloraOptionsOf<Options>>): unknown
}): FloraSlashCommand
declare function slash(command: FloraSlashCommand): FloraSlashCommand

interface FloraBotOptions {
  /** Default '!'. An empty one makes every message a command. */
  prefix?: string
  commands?: FloraPrefixCommand[]
  /** Older name of `commands`. */
  prefixCommands?: FloraPrefixCommand[]
  /** An empty list removes what was registered before. */
  slashCommands?: FloraSlashCommand[]
  /** How many events may wait for Discord at the same time; 1 for one after another. */
  overlap?: number
}

/** Listens for commands and registers the slash commands. The first call wins. */
declare function createBot(options?: FloraBotOptions): void
declare function flattenCommands(commands: readonly FloraSlashCommand[]): FloraRegisteredCommand[]
declare function flattenInteractionOptions(options?: readonly FloraInteractionOption[] | null): FloraOptionValues
declare function handleSubcommand(ctx: EventContext<'interactionCreate'>, commandName?: string): unknown

declare function hasRole(ctx: { readonly msg: { member?: FloraMember | null } }, roleId: string): boolean
/** Name of the subcommand that was used, also inside a group. */
declare function getSubcommand(ctx: EventContext<'interactionCreate'>): string | undefined
declare function getSubcommandGroup(ctx: EventContext<'interactionCreate'>): string | undefined

// ---- storage

/** Secrets of this guild, set with `flora secret set`. Scripts never see them: they pass placeholders on to `fetch`. */
interface Secrets {
  /**
   * The placeholder of a secret, null where there is none of that name. `fetch` replaces it in the path and query of the URL and in header
   * values, never in bodies, where the request goes to a host that the secret names. It stays the same when the value changes. Placed in
   * other text it works too, as long as it is not encoded.
   *
   * @example
   * await fetch('https://api.example.com/v1', { headers: { Authorization: `Bearer ${secrets.get('API_KEY')}` } })
   */
  get(name: string): string | null
}
declare const secrets: Secrets

interface KvSetOptions {
  /** Unix seconds. */
  expiration?: number | bigint
  /** Instead: seconds from now. */
  ttl?: number
  metadata?: unknown
}

interface KvListResult {
  keys: { name: string; expiration?: number; metadata?: unknown }[]
  listComplete: boolean
  cursor?: string
}

/**
 * One named store of the guild, made by the first write. Values are strings of at most 1 MiB: numbers and booleans become one when
 * they are set.
 */
declare class KvStore<V = string> {
  constructor(name: string)
  /** What was set, or null when there is nothing or it has expired. */
  get(key: string): Promise<V | null>
  getWithMetadata(key: string): Promise<{ value: V | null; metadata?: unknown; expiration?: number }>
  /** Replaces value, expiration and metadata together. */
  set(key: string, value: V, options?: KvSetOptions): Promise<void>
  /** `set`, if the present value is the one given, or there is none. Says whether it was. */
  setIf(key: string, value: V, condition: ({ value: V } | { absent: true }) & KvSetOptions): Promise<boolean>
  /** Adds to a number in one step and gives the sum; nothing counts as 0. The options are for a key that is not there yet. */
  increment(key: string, by?: number, options?: Omit<KvSetOptions, 'metadata'>): Promise<number>
  /** Keeps value and expiration; null clears the metadata. Rejects when there is no such key. */
  updateMetadata(key: string, metadata?: unknown): Promise<void>
  delete(key: string): Promise<void>
  /** Keys in ascending byte order; 100 unless `limit` says otherwise, at most 1000. */
  list(options?: { prefix?: string; limit?: number; cursor?: string }): Promise<KvListResult>
}
/** The store `default`, for anything JSON can say: values come back as what they were. Other stores: `kv.store(name)`. */
declare const kv: KvStore<any> & { store(name: string): KvStore }
declare function store(name: string): KvStore

// ---- Discord operations

/** What a failed operation rejects with. */
interface FloraError extends Error {
  code?:
    | ('SCOPE_FORBIDDEN' | 'INVALID_INPUT' | 'DISCORD_HTTP_ERROR' | 'DISCORD_RATE_LIMITED' | 'LIMIT_REACHED')
    | ('BAD_REQUEST' | 'NOT_FOUND' | 'CONFLICT' | 'TOO_LARGE' | 'KV_QUOTA_EXCEEDED' | 'KV_RATE_LIMITED')
    | ('STORAGE_ERROR' | 'UNAVAILABLE')
  /** Discord's own error number. */
  discord_code?: number
}

type FloraInChannel = { channelId: string }
type FloraOnMessage = { channelId: string; messageId: string }
type FloraInGuild = { guildId: string }
type FloraOnMember = { guildId: string; userId: string; reason?: string }
type FloraJson = Record<string, unknown>

interface FloraRest {
  sendMessage(
    options: FloraInChannel & FloraMessageBody & { replyTo?: string; messageId?: string },
  ): Promise<DiscordObject>
  editMessage(options: FloraOnMessage & MessageEditOptions): Promise<DiscordObject>
  deleteMessage(options: FloraOnMessage): Promise<void>
  bulkDeleteMessages(options: FloraInChannel & { messageIds: string[] }): Promise<void>
  pinMessage(options: FloraOnMessage): Promise<void>
  unpinMessage(options: FloraOnMessage): Promise<void>
  crosspostMessage(options: FloraOnMessage): Promise<DiscordObject>
  fetchMessage(options: FloraOnMessage): Promise<DiscordObject>
  fetchMessages(
    options: FloraInChannel & { limit?: number; before?: string; after?: string; around?: string },
  ): Promise<DiscordObject[]>
  addReaction(options: FloraOnMessage & { emoji: string }): Promise<void>
  removeReaction(options: FloraOnMessage & { emoji: string; userId?: string }): Promise<void>
  clearReactions(options: FloraOnMessage & { emoji?: string }): Promise<void>

  sendInteractionResponse(
    options: FloraMessageBody & { interactionId: string; token: string; ephemeral?: boolean },
  ): Promise<void>
  deferInteractionResponse(options: { interactionId: string; token: string; ephemeral?: boolean }): Promise<void>
  updateInteractionResponse(options: FloraMessageBody & { interactionId: string; token: string }): Promise<void>
  editOriginalInteractionResponse(
    options: MessageEditOptions & { token: string; attachments?: FloraAttachment[] },
  ): Promise<DiscordObject>
  deleteOriginalInteractionResponse(options: { token: string }): Promise<void>
  createFollowupMessage(options: FloraMessageBody & { token: string; ephemeral?: boolean }): Promise<DiscordObject>
  editFollowupMessage(options: FloraMessageBody & { token: string; messageId: string }): Promise<DiscordObject>
  deleteFollowupMessage(options: { token: string; messageId: string }): Promise<void>

  upsertGuildCommands(options: FloraInGuild & { commands: FloraRegisteredCommand[] }): Promise<unknown>
  createGuildCommand(options: FloraInGuild & { command: FloraRegisteredCommand }): Promise<DiscordObject>
  editGuildCommand(
    options: FloraInGuild & { commandId: string; command: FloraRegisteredCommand },
  ): Promise<DiscordObject>
  deleteGuildCommand(options: FloraInGuild & { commandId: string }): Promise<void>
  getGuildCommands(options: FloraInGuild): Promise<DiscordObject[]>
  getGuildCommand(options: FloraInGuild & { commandId: string }): Promise<DiscordObject>
  editGuildCommandPermissions(
    options: FloraInGuild & { commandId: string; permissions: unknown },
  ): Promise<DiscordObject>
  getGuildCommandsPermissions(options: FloraInGuild): Promise<DiscordObject[]>
  getGuildCommandPermissions(options: FloraInGuild & { commandId: string }): Promise<DiscordObject>

  kickMember(options: FloraOnMember): Promise<void>
  banMember(options: FloraOnMember & { deleteMessageSeconds?: number }): Promise<void>
  unbanMember(options: FloraOnMember): Promise<void>
  addMemberRole(options: FloraOnMember & { roleId: string }): Promise<void>
  removeMemberRole(options: FloraOnMember & { roleId: string }): Promise<void>
  /** `payload` is Discord's own body, in snake_case; so it is wherever there is one. */
  editMember(options: FloraOnMember & { payload: FloraJson }): Promise<FloraJson>
  editCurrentMember(options: FloraInGuild & { payload: FloraJson; reason?: string }): Promise<FloraJson>

  createChannel(options: FloraInGuild & { payload: FloraJson; reason?: string }): Promise<DiscordObject>
  editChannel(options: FloraInChannel & { payload: FloraJson; reason?: string }): Promise<DiscordObject>
  deleteChannel(options: FloraInChannel & { reason?: string }): Promise<DiscordObject>
  createThread(options: FloraInChannel & { payload: FloraJson; reason?: string }): Promise<DiscordObject>
  createThreadFromMessage(options: FloraOnMessage & { payload: FloraJson; reason?: string }): Promise<DiscordObject>
  joinThread(options: { threadId: string }): Promise<void>
  leaveThread(options: { threadId: string }): Promise<void>
  addThreadMember(options: { threadId: string; userId: string }): Promise<void>
  removeThreadMember(options: { threadId: string; userId: string }): Promise<void>

  executeWebhook(
    options: FloraMessageBody & {
      webhookId: string
      token: string
      /** Resolve to the message instead of null. */
      wait?: boolean
      threadId?: string
      withComponents?: boolean
      username?: string
      avatarUrl?: string
      threadName?: string
    },
  ): Promise<DiscordObject | null>
  editWebhook(options: {
    webhookId: string
    token?: string
    payload: FloraJson
    reason?: string
  }): Promise<DiscordObject>
  deleteWebhook(options: { webhookId: string; token?: string; reason?: string }): Promise<void>
}
declare const rest: FloraRest

// ---- constants

declare const MessageFlags: {
  readonly CROSSPOSTED: 1
  readonly IS_CROSSPOST: 2
  readonly SUPPRESS_EMBEDS: 4
  readonly SOURCE_MESSAGE_DELETED: 8
  readonly URGENT: 16
  readonly HAS_THREAD: 32
  readonly EPHEMERAL: 64
  readonly LOADING: 128
  readonly FAILED_TO_MENTION_SOME_ROLES_IN_THREAD: 256
  readonly SUPPRESS_NOTIFICATIONS: 4096
  readonly IS_VOICE_MESSAGE: 8192
  readonly IS_COMPONENTS_V2: 32768
}

declare const ComponentType: {
  readonly ActionRow: 1
  readonly Button: 2
  readonly StringSelect: 3
  readonly InputText: 4
  readonly UserSelect: 5
  readonly RoleSelect: 6
  readonly MentionableSelect: 7
  readonly ChannelSelect: 8
  readonly Section: 9
  readonly TextDisplay: 10
  readonly Thumbnail: 11
  readonly MediaGallery: 12
  readonly File: 13
  readonly Separator: 14
  readonly Container: 17
  readonly Label: 18
  readonly FileUpload: 19
}

declare const ButtonStyle: { readonly Primary: 1; readonly Secondary: 2; readonly Success: 3; readonly Danger: 4 }
declare const ButtonStyles: typeof ButtonStyle
declare const InputTextStyle: { readonly Short: 1; readonly Paragraph: 2 }
declare const InputTextStyles: typeof InputTextStyle

/** The guild this script runs for. */
declare const __floraGuildId: string

/** The same names in one place. */
declare const flora: {
  createBot: typeof createBot
  prefix: typeof prefix
  slash: typeof slash
  flattenCommands: typeof flattenCommands
  flattenInteractionOptions: typeof flattenInteractionOptions
  handleSubcommand: typeof handleSubcommand
  hasRole: typeof hasRole
  getSubcommand: typeof getSubcommand
  getSubcommandGroup: typeof getSubcommandGroup
  kv: typeof kv
  store: typeof store
  KvStore: typeof KvStore
  rest: typeof rest
  MessageFlags: typeof MessageFlags
  ComponentType: typeof ComponentType
  ButtonStyle: typeof ButtonStyle
  ButtonStyles: typeof ButtonStyles
  InputTextStyle: typeof InputTextStyle
  InputTextStyles: typeof InputTextStyles
  embed: typeof embed
  EmbedBuilder: typeof EmbedBuilder
  actionRow: typeof actionRow
  button: typeof button
  stringSelect: typeof stringSelect
  userSelect: typeof userSelect
  roleSelect: typeof roleSelect
  mentionableSelect: typeof mentionableSelect
  channelSelect: typeof channelSelect
  inputText: typeof inputText
  textDisplay: typeof textDisplay
  thumbnail: typeof thumbnail
  section: typeof section
  mediaGallery: typeof mediaGallery
  file: typeof file
  separator: typeof separator
  container: typeof container
  label: typeof label
  fileUpload: typeof fileUpload
  ActionRowBuilder: typeof ActionRowBuilder
  ButtonBuilder: typeof ButtonBuilder
  SelectMenuBuilderBase: typeof SelectMenuBuilderBase
  StringSelectMenuBuilder: typeof StringSelectMenuBuilder
  UserSelectMenuBuilder: typeof UserSelectMenuBuilder
  RoleSelectMenuBuilder: typeof RoleSelectMenuBuilder
  MentionableSelectMenuBuilder: typeof MentionableSelectMenuBuilder
  ChannelSelectMenuBuilder: typeof ChannelSelectMenuBuilder
  InputTextBuilder: typeof InputTextBuilder
  TextDisplayBuilder: typeof TextDisplayBuilder
  ThumbnailBuilder: typeof ThumbnailBuilder
  SectionBuilder: typeof SectionBuilder
  MediaGalleryBuilder: typeof MediaGalleryBuilder
  FileBuilder: typeof FileBuilder
  SeparatorBuilder: typeof SeparatorBuilder
  ContainerBuilder: typeof ContainerBuilder
  LabelBuilder: typeof LabelBuilder
  FileUploadBuilder: typeof FileUploadBuilder
}
