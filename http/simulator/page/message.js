// How one message looks.
import { colourOf, el, markdown, safeUrl } from './dom.js'

const EPHEMERAL = 64
const LOADING = 128
const QUICK_REACTIONS = ['👍', '🎉', '❤️']

/**
 * @param message A message as the API gives it.
 * @param view    `{guild, userId, names, act}`: who looks at it, and what pressing something does.
 */
export function messageNode(message, view) {
  const ephemeral = Boolean(message.flags & EPHEMERAL)
  const author = message.author
  const name = view.guild.users.find((u) => u.id === author.id)?.name ?? author.global_name ?? author.username
  const avatar = el('div', { className: 'avatar', 'aria-hidden': 'true' }, [...name][0]?.toUpperCase() ?? '?')
  avatar.style.background = colourOf(author.id)
  return el(
    'article',
    { className: `message${ephemeral ? ' ephemeral' : ''}`, id: `m${message.id}` },
    avatar,
    origin(message, view),
    el(
      'div',
      {},
      el('span', { className: 'author' }, name), ' ',
      author.bot ? el('span', { className: 'tag' }, 'BOT') : null, ' ',
      timeNode(message.timestamp),
    ),
    el('div', { className: 'body' }, ...body(message, view)),
    ephemeral ? el('p', { className: 'about' }, 'Only you can see this.') : null,
    tools(message, view),
  )
}

function timeNode(iso) {
  const at = new Date(iso)
  return el('time', { dateTime: iso, title: at.toLocaleString() }, at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }))
}

function origin(message, view) {
  const used = message.interaction
  if (used) return el('p', { className: 'about' }, `${used.user.global_name ?? used.user.username} used /${used.name}`)
  const target = message.referenced_message
  if (!target) return null
  const who = view.guild.users.find((u) => u.id === target.author.id)?.name ?? target.author.username
  return el('p', { className: 'about' }, `↪ ${who}: ${target.content.slice(0, 120) || 'a message without text'}`)
}

function body(message, view) {
  if (message.flags & LOADING) return [el('p', { className: 'thinking' }, 'is thinking…')]
  const parts = []
  if (message.content) {
    const edited = message.edited_timestamp ? el('span', { className: 'edited' }, ' (edited)') : null
    parts.push(el('div', { className: 'content' }, ...markdown(message.content, view.names), edited))
  }
  parts.push(...message.attachments.map(attachment))
  parts.push(...message.embeds.map((embed) => embedNode(embed, view)))
  parts.push(...message.components.map((component) => componentNode(component, message, view)))
  if (message.reactions?.length) parts.push(reactions(message, view))
  return parts
}

function picture(url, alt) {
  const src = url && safeUrl(url)
  return src ? el('img', { src, alt: alt ?? '', loading: 'lazy' }) : null
}

function attachment(file) {
  const isPicture = /^image\/(png|jpeg|gif|webp)$/.test(file.content_type ?? '')
  const href = safeUrl(file.url) ?? '#'
  const label = `${file.filename} (${file.size} bytes)`
  return el('p', { className: 'attachment' }, isPicture ? picture(file.url, file.description ?? file.filename) : null, el('a', { href }, label))
}

function embedNode(embed, view) {
  const rich = (text, className) => (text ? el('div', { className: `content ${className ?? ''}` }, ...markdown(text, view.names)) : null)
  const title = embed.title
    ? el('div', { className: 'title' }, embed.url && safeUrl(embed.url)
      ? el('a', { href: safeUrl(embed.url), rel: 'noreferrer noopener', target: '_blank' }, embed.title)
      : embed.title)
    : null
  const fields = (embed.fields ?? []).map((field) =>
    el('div', { className: field.inline ? 'inline' : '' }, el('b', {}, field.name), rich(field.value)))
  const footer = [embed.footer?.text, embed.timestamp && new Date(embed.timestamp).toLocaleString()].filter(Boolean)
  const node = el(
    'div',
    { className: 'embed' },
    embed.author?.name ? el('div', { className: 'small' }, embed.author.name) : null,
    title,
    rich(embed.description),
    fields.length ? el('div', { className: 'fields' }, ...fields) : null,
    picture(embed.image?.url),
    picture(embed.thumbnail?.url),
    footer.length ? el('div', { className: 'small' }, footer.join(' · ')) : null,
  )
  if (embed.color) node.style.borderLeftColor = `#${Number(embed.color).toString(16).padStart(6, '0')}`
  return node
}

function componentNode(component, message, view) {
  const inner = () => (component.components ?? []).map((child) => componentNode(child, message, view))
  switch (component.type) {
    case 1: return el('div', { className: 'row' }, ...inner())
    case 2: return button(component, message, view)
    case 3: case 5: case 6: case 7: case 8: return select(component, message, view)
    case 9: return el('div', { className: 'section' }, el('div', {}, ...inner()), componentNode(component.accessory, message, view))
    case 10: return el('div', { className: 'content' }, ...markdown(component.content, view.names))
    case 11: return picture(component.media?.url, component.description)
    case 12: return el('div', { className: 'gallery' }, ...component.items.map((item) => picture(item.media?.url, item.description)))
    case 14: return el('hr')
    case 17: return el('div', { className: 'container' }, ...inner())
    default: return el('p', { className: 'about' }, `component of type ${component.type}`)
  }
}

function button(component, message, view) {
  const label = [component.emoji?.name, component.label].filter(Boolean).join(' ')
  if (component.style === 5) {
    const open = () => window.open(safeUrl(component.url) ?? 'about:blank', '_blank', 'noopener,noreferrer')
    return el('button', { type: 'button', className: 's5', disabled: component.disabled, onclick: open }, `${label} ↗`)
  }
  const press = () => view.act.component(message, component.custom_id)
  return el('button', { type: 'button', className: `s${component.style}`, disabled: component.disabled, onclick: press }, label)
}

function choices(component, guild) {
  const users = guild.users.map((u) => ({ value: u.id, label: u.name }))
  const roles = guild.roles.map((r) => ({ value: r.id, label: r.name }))
  switch (component.type) {
    case 5: return users
    case 6: return roles
    case 7: return [...users, ...roles]
    case 8: return guild.channels.map((c) => ({ value: c.id, label: `#${c.name}` }))
    default: return component.options ?? []
  }
}

function select(component, message, view) {
  const many = (component.max_values ?? 1) > 1
  const label = component.placeholder ?? 'Choose'
  const options = choices(component, view.guild).map((choice) =>
    el('option', { value: choice.value, defaultSelected: choice.default, title: choice.description }, choice.label))
  const first = many ? [] : [el('option', { value: '' }, label)]
  const send = (event) => {
    const values = [...event.currentTarget.selectedOptions].map((o) => o.value).filter(Boolean)
    if (values.length) view.act.component(message, component.custom_id, values)
  }
  return el('select', { multiple: many, disabled: component.disabled, 'aria-label': label, onchange: send }, ...first, ...options)
}

function reactions(message, view) {
  return el('div', { className: 'reactions' }, ...message.reactions.map((reaction) => {
    const name = reaction.emoji.name
    const title = `React with ${name}`
    return el('button', { type: 'button', title, onclick: () => view.act.react(message, reaction.emoji) },
      `${reaction.emoji.id ? `:${name}:` : name} ${reaction.count}`)
  }))
}

function tools(message, view) {
  if (message.flags & EPHEMERAL) return null
  const act = (label, text, onclick) => el('button', { type: 'button', className: 'quiet', 'aria-label': label, title: label, onclick }, text)
  return el(
    'div',
    { className: 'tools' },
    ...QUICK_REACTIONS.map((emoji) => act(`React with ${emoji}`, emoji, () => view.act.react(message, { id: null, name: emoji }))),
    act('Reply', '↩', () => view.act.reply(message)),
    message.author.id === view.userId ? act('Edit', '✎', () => view.act.edit(message)) : null,
    act('Delete', '✕', () => view.act.remove(message)),
  )
}

/** Whether the one who looks may see it: ephemeral messages are for whoever used the command or button. */
export function isFor(message, userId) {
  return !(message.flags & EPHEMERAL) || message.interaction_metadata?.user?.id === userId
}
