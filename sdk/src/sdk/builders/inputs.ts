/** What modals are made of: text inputs, labels around inputs, file uploads. */
import { ComponentType } from '../constants'
import { ComponentBuilder, type ComponentLike } from './base'

export const INPUT_LIMITS = { customId: { min: 1, max: 100 }, value: { max: 4000 }, placeholder: { max: 100 } } as const
export const LABEL_LIMITS = { label: { max: 45 }, description: { max: 100 } } as const

export class InputTextBuilder extends ComponentBuilder {
  constructor(customId: string) {
    super(ComponentType.InputText)
    this.put('custom_id', customId)
  }

  setCustomId(customId: string): this {
    return this.put('custom_id', customId)
  }

  setStyle(style: number): this {
    return this.put('style', style)
  }

  setMinLength(characters: number): this {
    return this.put('min_length', characters)
  }

  setMaxLength(characters: number): this {
    return this.put('max_length', characters)
  }

  setRequired(required = true): this {
    return this.put('required', required)
  }

  setValue(value: string): this {
    return this.put('value', value)
  }

  setPlaceholder(placeholder: string): this {
    return this.put('placeholder', placeholder)
  }

  protected override check(): void {
    this.within('custom_id', INPUT_LIMITS.customId)
    this.within('value', INPUT_LIMITS.value)
    this.within('placeholder', INPUT_LIMITS.placeholder)
  }
}

export class LabelBuilder extends ComponentBuilder {
  constructor(label: string) {
    super(ComponentType.Label)
    this.put('label', label).put('component', null)
  }

  setLabel(label: string): this {
    return this.put('label', label)
  }

  setDescription(description: string): this {
    return this.put('description', description)
  }

  setComponent(component: ComponentLike): this {
    return this.put('component', component)
  }

  protected override check(): void {
    this.within('label', LABEL_LIMITS.label)
    this.within('description', LABEL_LIMITS.description)
  }
}

export class FileUploadBuilder extends ComponentBuilder {
  constructor(customId: string) {
    super(ComponentType.FileUpload)
    this.put('custom_id', customId)
  }

  setCustomId(customId: string): this {
    return this.put('custom_id', customId)
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

  protected override check(): void {
    this.within('custom_id', INPUT_LIMITS.customId)
  }
}

export const inputText = (customId: string): InputTextBuilder => new InputTextBuilder(customId)
export const label = (text: string): LabelBuilder => new LabelBuilder(text)
export const fileUpload = (customId: string): FileUploadBuilder => new FileUploadBuilder(customId)
