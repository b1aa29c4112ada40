/** The parts of a Components V2 message; such a message also needs `flags: MessageFlags.IS_COMPONENTS_V2`. */
import { ComponentType } from '../constants'
import { ComponentBuilder, type ComponentLike } from './base'

export const LAYOUT_LIMITS = {
  text: { min: 1, max: 4000 },
  description: { max: 1024 },
  section: { min: 1, max: 3 },
  gallery: { min: 1, max: 10 },
} as const

interface MediaOptions {
  description?: string
  spoiler?: boolean
}

abstract class ParentBuilder extends ComponentBuilder {
  constructor(type: number) {
    super(type)
    this.put('components', [])
  }

  addComponents(...components: (ComponentLike | ComponentLike[])[]): this {
    return this.append('components', components)
  }

  setComponents(components: ComponentLike[]): this {
    return this.put('components', [...components])
  }
}

export class SectionBuilder extends ParentBuilder {
  constructor() {
    super(ComponentType.Section)
    this.put('accessory', null)
  }

  /** A button or a thumbnail, beside the texts. */
  setAccessory(accessory: ComponentLike): this {
    return this.put('accessory', accessory)
  }

  protected override check(): void {
    this.within('components', LAYOUT_LIMITS.section)
  }
}

export class TextDisplayBuilder extends ComponentBuilder {
  constructor(content: string) {
    super(ComponentType.TextDisplay)
    this.put('content', content)
  }

  setContent(content: string): this {
    return this.put('content', content)
  }

  protected override check(): void {
    this.within('content', LAYOUT_LIMITS.text)
  }
}

export class ThumbnailBuilder extends ComponentBuilder {
  constructor(url: string) {
    super(ComponentType.Thumbnail)
    this.setUrl(url)
  }

  setUrl(url: string): this {
    return this.put('media', { url })
  }

  setDescription(description: string): this {
    return this.put('description', description)
  }

  setSpoiler(spoiler = true): this {
    return this.put('spoiler', spoiler)
  }

  protected override check(): void {
    this.within('description', LAYOUT_LIMITS.description)
  }
}

export class MediaGalleryBuilder extends ComponentBuilder {
  constructor() {
    super(ComponentType.MediaGallery)
    this.put('items', [])
  }

  addItem(url: string, { description, spoiler }: MediaOptions = {}): this {
    return this.append('items', [{ media: { url }, description, spoiler }])
  }

  setItems(items: ({ media: { url: string } } & MediaOptions)[]): this {
    return this.put('items', [...items])
  }

  protected override check(): void {
    this.within('items', LAYOUT_LIMITS.gallery)
  }
}

export class FileBuilder extends ComponentBuilder {
  constructor(url: string) {
    super(ComponentType.File)
    this.setUrl(url)
  }

  /** `attachment://` and the name of an attachment of the same message. */
  setUrl(url: string): this {
    return this.put('file', { url })
  }

  setSpoiler(spoiler = true): this {
    return this.put('spoiler', spoiler)
  }
}

export class SeparatorBuilder extends ComponentBuilder {
  constructor(divider = true) {
    super(ComponentType.Separator)
    this.put('divider', divider)
  }

  setDivider(divider = true): this {
    return this.put('divider', divider)
  }

  setSpacing(spacing: 1 | 2 | 'small' | 'large'): this {
    return this.put('spacing', spacing)
  }
}

export class ContainerBuilder extends ParentBuilder {
  constructor() {
    super(ComponentType.Container)
  }

  /** 0xRRGGBB */
  setAccentColor(color: number): this {
    return this.put('accent_color', color)
  }

  setSpoiler(spoiler = true): this {
    return this.put('spoiler', spoiler)
  }
}

export const section = (): SectionBuilder => new SectionBuilder()
export const textDisplay = (content: string): TextDisplayBuilder => new TextDisplayBuilder(content)
export const thumbnail = (url: string): ThumbnailBuilder => new ThumbnailBuilder(url)
export const mediaGallery = (): MediaGalleryBuilder => new MediaGalleryBuilder()
export const file = (url: string): FileBuilder => new FileBuilder(url)
export const separator = (divider = true): SeparatorBuilder => new SeparatorBuilder(divider)
export const container = (): ContainerBuilder => new ContainerBuilder()
