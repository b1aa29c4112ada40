/** Select menus of all five kinds. */
import { ComponentType } from '../constants'
import { ComponentBuilder } from './base'

export const SELECT_LIMITS = {
  customId: { min: 1, max: 100 },
  placeholder: { max: 150 },
  options: { max: 25 },
  defaultValues: { max: 25 },
} as const

export interface SelectOption {
  label: string
  value: string
  description?: string
  emoji?: string | { id?: string; name?: string; animated?: boolean }
  default?: boolean
}

export interface SelectDefault {
  id: string
  type: 'user' | 'role' | 'channel'
}

export class SelectMenuBuilderBase extends ComponentBuilder {
  constructor(type: number, customId: string) {
    super(type)
    this.put('custom_id', customId)
  }

  setCustomId(customId: string): this {
    return this.put('custom_id', customId)
  }

  setPlaceholder(placeholder: string): this {
    return this.put('placeholder', placeholder)
  }

  setMinValues(count: number): this {
    return this.put('min_values', count)
  }

  setMaxValues(count: number): this {
    return this.put('max_values', count)
  }

  setRequired(required = true): this {
    return this.put('required', required)
  }

  setDisabled(disabled = true): this {
    return this.put('disabled', disabled)
  }

  setChannelTypes(types: number[]): this {
    return this.put('channel_types', [...types])
  }

  setDefaultValues(values: SelectDefault[]): this {
    return this.put('default_values', [...values])
  }

  addDefaultValue(id: string, type: SelectDefault['type']): this {
    return this.append('default_values', [{ id, type }])
  }

  setDefaultUsers(ids: string[]): this {
    return this.put('default_users', [...ids])
  }

  addDefaultUser(id: string): this {
    return this.append('default_users', [id])
  }

  setDefaultRoles(ids: string[]): this {
    return this.put('default_roles', [...ids])
  }

  addDefaultRole(id: string): this {
    return this.append('default_roles', [id])
  }

  setDefaultChannels(ids: string[]): this {
    return this.put('default_channels', [...ids])
  }

  addDefaultChannel(id: string): this {
    return this.append('default_channels', [id])
  }

  protected override check(): void {
    this.within('custom_id', SELECT_LIMITS.customId)
    this.within('placeholder', SELECT_LIMITS.placeholder)
    this.within('options', SELECT_LIMITS.options)
    this.within('default_values', SELECT_LIMITS.defaultValues)
  }
}

export class StringSelectMenuBuilder extends SelectMenuBuilderBase {
  constructor(customId: string) {
    super(ComponentType.StringSelect, customId)
    this.put('options', [])
  }

  setOptions(options: SelectOption[]): this {
    return this.put('options', [...options])
  }

  addOptions(...options: (SelectOption | SelectOption[])[]): this {
    return this.append('options', options)
  }
}

export class UserSelectMenuBuilder extends SelectMenuBuilderBase {
  constructor(customId: string) {
    super(ComponentType.UserSelect, customId)
  }
}

export class RoleSelectMenuBuilder extends SelectMenuBuilderBase {
  constructor(customId: string) {
    super(ComponentType.RoleSelect, customId)
  }
}

export class MentionableSelectMenuBuilder extends SelectMenuBuilderBase {
  constructor(customId: string) {
    super(ComponentType.MentionableSelect, customId)
  }
}

export class ChannelSelectMenuBuilder extends SelectMenuBuilderBase {
  constructor(customId: string) {
    super(ComponentType.ChannelSelect, customId)
  }
}

export const stringSelect = (customId: string): StringSelectMenuBuilder => new StringSelectMenuBuilder(customId)
export const userSelect = (customId: string): UserSelectMenuBuilder => new UserSelectMenuBuilder(customId)
export const roleSelect = (customId: string): RoleSelectMenuBuilder => new RoleSelectMenuBuilder(customId)
export const mentionableSelect = (customId: string): MentionableSelectMenuBuilder =>
  new MentionableSelectMenuBuilder(customId)
export const channelSelect = (customId: string): ChannelSelectMenuBuilder => new ChannelSelectMenuBuilder(customId)
