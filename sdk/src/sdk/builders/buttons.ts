/** Action rows and the buttons in them. */
import { ComponentType } from '../constants'
import { ComponentBuilder, type ComponentLike } from './base'

/** Children of one row: five buttons or one select. */
export const ROW_LIMITS = { components: { min: 1, max: 5 } } as const
export const BUTTON_LIMITS = { label: { max: 80 }, customId: { min: 1, max: 100 }, url: { max: 512 } } as const

/** Discord's styles for buttons that open a link or a shop page; set by `setUrl` and `setSkuId`. */
const LINK = 5
const PREMIUM = 6

export class ActionRowBuilder extends ComponentBuilder {
  constructor() {
    super(ComponentType.ActionRow)
    this.put('components', [])
  }

  addComponents(...components: (ComponentLike | ComponentLike[])[]): this {
    return this.append('components', components)
  }

  setComponents(components: ComponentLike[]): this {
    return this.put('components', [...components])
  }

  protected override check(): void {
    this.within('components', ROW_LIMITS.components)
  }
}

export class ButtonBuilder extends ComponentBuilder {
  constructor() {
    super(ComponentType.Button)
  }

  setStyle(style: number): this {
    return this.put('style', style)
  }

  setCustomId(customId: string): this {
    return this.put('custom_id', customId)
  }

  /** Makes it a link. */
  setUrl(url: string): this {
    return this.put('url', url).put('style', LINK)
  }

  /** Makes it a shop button. */
  setSkuId(skuId: string): this {
    return this.put('sku_id', skuId).put('style', PREMIUM)
  }

  setLabel(label: string): this {
    return this.put('label', label)
  }

  /** A Unicode emoji, `<:name:id>`, or Discord's form. */
  setEmoji(emoji: string | { id?: string; name?: string; animated?: boolean }): this {
    return this.put('emoji', emoji)
  }

  setDisabled(disabled = true): this {
    return this.put('disabled', disabled)
  }

  protected override check(): void {
    this.within('label', BUTTON_LIMITS.label)
    this.within('custom_id', BUTTON_LIMITS.customId)
    this.within('url', BUTTON_LIMITS.url)
  }
}

export const actionRow = (): ActionRowBuilder => new ActionRowBuilder()
export const button = (): ButtonBuilder => new ButtonBuilder()
