/** Embeds: the boxes below a message. */
import { checkSize, resolve } from './base'

/** Discord's caps for one embed, in characters; `fields` counts fields, `total` is the sum of all texts. */
export const EMBED_LIMITS = {
  title: 256,
  description: 4096,
  fields: 25,
  fieldName: 256,
  fieldValue: 1024,
  footer: 2048,
  author: 256,
  total: 6000,
} as const

export interface EmbedField {
  name: string
  value: string
  inline?: boolean
}

export interface EmbedData {
  title?: string
  description?: string
  url?: string
  color?: number
  timestamp?: string
  footer?: { text: string; iconUrl?: string }
  image?: { url: string }
  thumbnail?: { url: string }
  author?: { name?: string; url?: string; iconUrl?: string }
  fields?: EmbedField[]
}

/**
 * Builds an embed. May be passed where an embed is expected.
 *
 * @example
 * embed().setTitle('Score').addField('Red', '3', true).addField('Blue', '2', true)
 */
export class EmbedBuilder {
  readonly #data: EmbedData

  constructor(initial: EmbedData | EmbedBuilder = {}) {
    this.#data = { ...(initial instanceof EmbedBuilder ? initial.toJSON() : initial) }
  }

  setTitle(title: string): this {
    return this.#put({ title })
  }

  setDescription(description: string): this {
    return this.#put({ description })
  }

  setUrl(url: string): this {
    return this.#put({ url })
  }

  /** 0xRRGGBB */
  setColor(color: number): this {
    return this.#put({ color })
  }

  /** RFC 3339, such as `new Date().toISOString()`. */
  setTimestamp(timestamp: string): this {
    return this.#put({ timestamp })
  }

  setFooter(text: string, iconUrl?: string): this {
    return this.#put({ footer: iconUrl === undefined ? { text } : { text, iconUrl } })
  }

  setImage(url: string): this {
    return this.#put({ image: { url } })
  }

  setThumbnail(url: string): this {
    return this.#put({ thumbnail: { url } })
  }

  setAuthor(name?: string, links: { url?: string; iconUrl?: string } = {}): this {
    return this.#put({ author: name === undefined ? { ...links } : { name, ...links } })
  }

  addField(name: string, value: string, inline = false): this {
    return this.addFields([{ name, value, inline }])
  }

  addFields(fields: EmbedField[]): this {
    return this.#put({ fields: [...(this.#data.fields ?? []), ...fields] })
  }

  setFields(fields: EmbedField[]): this {
    return this.#put({ fields: [...fields] })
  }

  /** The embed as plain data. Throws RangeError when one of `EMBED_LIMITS` is broken. */
  toJSON(): EmbedData {
    checkLimits(this.#data)
    return resolve(this.#data) as EmbedData
  }

  #put(members: EmbedData): this {
    Object.assign(this.#data, members)
    return this
  }
}

/** Starts an embed, empty or from plain data. */
export const embed = (initial?: EmbedData | EmbedBuilder): EmbedBuilder => new EmbedBuilder(initial)

function checkLimits({ title, description, footer, author, fields = [] }: EmbedData): void {
  const check = (key: string, value: unknown, max: number): void => checkSize('embed', key, value, { max })
  check('title', title, EMBED_LIMITS.title)
  check('description', description, EMBED_LIMITS.description)
  check('footer.text', footer?.text, EMBED_LIMITS.footer)
  check('author.name', author?.name, EMBED_LIMITS.author)
  check('fields', fields, EMBED_LIMITS.fields)
  fields.forEach(({ name, value }, index) => {
    check(`fields[${index}].name`, name, EMBED_LIMITS.fieldName)
    check(`fields[${index}].value`, value, EMBED_LIMITS.fieldValue)
  })
  const texts = [title, description, footer?.text, author?.name, ...fields.flatMap(({ name, value }) => [name, value])]
  const total = texts.reduce((sum, text) => sum + (typeof text === 'string' ? text.length : 0), 0)
  if (total > EMBED_LIMITS.total)
    throw new RangeError(`embed: its texts have ${total} characters, at most ${EMBED_LIMITS.total} are allowed`)
}
