// Builders for embeds and components. Setters chain; `toJSON()` gives Discord's form and throws RangeError where one of Discord's
// limits is broken. A builder may be passed wherever its form is expected.

/**
 * Builds an embed.
 *
 * @example
 * on('messageCreate', (ctx) => ctx.reply({ embeds: [embed().setTitle('Score').addField('Red', '3', true)] }))
 */
declare class EmbedBuilder {
  constructor(initial?: FloraEmbed | EmbedBuilder)
  setTitle(title: string): this
  setDescription(description: string): this
  setUrl(url: string): this
  /** 0xRRGGBB */
  setColor(color: number): this
  /** RFC 3339, such as `new Date().toISOString()`. */
  setTimestamp(timestamp: string): this
  setFooter(text: string, iconUrl?: string): this
  setImage(url: string): this
  setThumbnail(url: string): this
  setAuthor(name?: string, links?: { url?: string; iconUrl?: string }): this
  addField(name: string, value: string, inline?: boolean): this
  addFields(fields: { name: string; value: string; inline?: boolean }[]): this
  setFields(fields: { name: string; value: string; inline?: boolean }[]): this
  toJSON(): FloraEmbed
}
declare function embed(initial?: FloraEmbed | EmbedBuilder): EmbedBuilder

interface FloraComponentJson {
  type: number
  [key: string]: unknown
}

interface FloraComponentBuilder {
  /** What was set so far, by Discord's names. */
  readonly data: Record<string, unknown>
  toJSON(): FloraComponentJson
}

interface FloraParentBuilder extends FloraComponentBuilder {
  addComponents(...components: (FloraComponent | FloraComponent[])[]): this
  setComponents(components: FloraComponent[]): this
}

type FloraEmojiInput = string | { id?: string; name?: string; animated?: boolean }

declare class ActionRowBuilder implements FloraParentBuilder {
  readonly data: Record<string, unknown>
  addComponents(...components: (FloraComponent | FloraComponent[])[]): this
  setComponents(components: FloraComponent[]): this
  toJSON(): FloraComponentJson
}

declare class ButtonBuilder implements FloraComponentBuilder {
  readonly data: Record<string, unknown>
  setStyle(style: number): this
  setCustomId(customId: string): this
  /** Makes it a link. */
  setUrl(url: string): this
  /** Makes it a shop button. */
  setSkuId(skuId: string): this
  setLabel(label: string): this
  setEmoji(emoji: FloraEmojiInput): this
  setDisabled(disabled?: boolean): this
  toJSON(): FloraComponentJson
}

declare class SelectMenuBuilderBase implements FloraComponentBuilder {
  constructor(type: number, customId: string)
  readonly data: Record<string, unknown>
  setCustomId(customId: string): this
  setPlaceholder(placeholder: string): this
  setMinValues(count: number): this
  setMaxValues(count: number): this
  setRequired(required?: boolean): this
  setDisabled(disabled?: boolean): this
  setChannelTypes(types: number[]): this
  setDefaultValues(values: { id: string; type: 'user' | 'role' | 'channel' }[]): this
  addDefaultValue(id: string, type: 'user' | 'role' | 'channel'): this
  setDefaultUsers(ids: string[]): this
  addDefaultUser(id: string): this
  setDefaultRoles(ids: string[]): this
  addDefaultRole(id: string): this
  setDefaultChannels(ids: string[]): this
  addDefaultChannel(id: string): this
  toJSON(): FloraComponentJson
}

interface FloraSelectOption {
  label: string
  value: string
  description?: string
  emoji?: FloraEmojiInput
  default?: boolean
}

declare class StringSelectMenuBuilder extends SelectMenuBuilderBase {
  constructor(customId: string)
  setOptions(options: FloraSelectOption[]): this
  addOptions(...options: (FloraSelectOption | FloraSelectOption[])[]): this
}
declare class UserSelectMenuBuilder extends SelectMenuBuilderBase {
  constructor(customId: string)
}
declare class RoleSelectMenuBuilder extends SelectMenuBuilderBase {
  constructor(customId: string)
}
declare class MentionableSelectMenuBuilder extends SelectMenuBuilderBase {
  constructor(customId: string)
}
declare class ChannelSelectMenuBuilder extends SelectMenuBuilderBase {
  constructor(customId: string)
}

declare class InputTextBuilder implements FloraComponentBuilder {
  constructor(customId: string)
  readonly data: Record<string, unknown>
  setCustomId(customId: string): this
  setStyle(style: number): this
  setMinLength(characters: number): this
  setMaxLength(characters: number): this
  setRequired(required?: boolean): this
  setValue(value: string): this
  setPlaceholder(placeholder: string): this
  toJSON(): FloraComponentJson
}

declare class LabelBuilder implements FloraComponentBuilder {
  constructor(label: string)
  readonly data: Record<string, unknown>
  setLabel(label: string): this
  setDescription(description: string): this
  setComponent(component: FloraComponent): this
  toJSON(): FloraComponentJson
}

declare class FileUploadBuilder implements FloraComponentBuilder {
  constructor(customId: string)
  readonly data: Record<string, unknown>
  setCustomId(customId: string): this
  setMinValues(count: number): this
  setMaxValues(count: number): this
  setRequired(required?: boolean): this
  toJSON(): FloraComponentJson
}

declare class SectionBuilder implements FloraParentBuilder {
  readonly data: Record<string, unknown>
  addComponents(...components: (FloraComponent | FloraComponent[])[]): this
  setComponents(components: FloraComponent[]): this
  /** A button or a thumbnail. */
  setAccessory(accessory: FloraComponent): this
  toJSON(): FloraComponentJson
}

declare class TextDisplayBuilder implements FloraComponentBuilder {
  constructor(content: string)
  readonly data: Record<string, unknown>
  setContent(content: string): this
  toJSON(): FloraComponentJson
}

declare class ThumbnailBuilder implements FloraComponentBuilder {
  constructor(url: string)
  readonly data: Record<string, unknown>
  setUrl(url: string): this
  setDescription(description: string): this
  setSpoiler(spoiler?: boolean): this
  toJSON(): FloraComponentJson
}

declare class MediaGalleryBuilder implements FloraComponentBuilder {
  readonly data: Record<string, unknown>
  addItem(url: string, options?: { description?: string; spoiler?: boolean }): this
  setItems(items: { media: { url: string }; description?: string; spoiler?: boolean }[]): this
  toJSON(): FloraComponentJson
}

declare class FileBuilder implements FloraComponentBuilder {
  constructor(url: string)
  readonly data: Record<string, unknown>
  /** `attachment://` and the name of an attachment of the same message. */
  setUrl(url: string): this
  setSpoiler(spoiler?: boolean): this
  toJSON(): FloraComponentJson
}

declare class SeparatorBuilder implements FloraComponentBuilder {
  constructor(divider?: boolean)
  readonly data: Record<string, unknown>
  setDivider(divider?: boolean): this
  setSpacing(spacing: 1 | 2 | 'small' | 'large'): this
  toJSON(): FloraComponentJson
}

declare class ContainerBuilder implements FloraParentBuilder {
  readonly data: Record<string, unknown>
  addComponents(...components: (FloraComponent | FloraComponent[])[]): this
  setComponents(components: FloraComponent[]): this
  /** 0xRRGGBB */
  setAccentColor(color: number): this
  setSpoiler(spoiler?: boolean): this
  toJSON(): FloraComponentJson
}

declare function actionRow(): ActionRowBuilder
declare function button(): ButtonBuilder
declare function stringSelect(customId: string): StringSelectMenuBuilder
declare function userSelect(customId: string): UserSelectMenuBuilder
declare function roleSelect(customId: string): RoleSelectMenuBuilder
declare function mentionableSelect(customId: string): MentionableSelectMenuBuilder
declare function channelSelect(customId: string): ChannelSelectMenuBuilder
declare function inputText(customId: string): InputTextBuilder
declare function label(text: string): LabelBuilder
declare function fileUpload(customId: string): FileUploadBuilder
declare function section(): SectionBuilder
declare function textDisplay(content: string): TextDisplayBuilder
declare function thumbnail(url: string): ThumbnailBuilder
declare function mediaGallery(): MediaGalleryBuilder
declare function file(url: string): FileBuilder
declare function separator(divider?: boolean): SeparatorBuilder
declare function container(): ContainerBuilder
