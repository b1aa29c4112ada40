// Small helpers. Text only ever becomes text nodes: nothing a message contains is taken for markup.

/** Makes an element. Keys of `props` that begin with "on" are listeners, "dataset" and plain properties are assigned. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag)
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value)
    else if (key.startsWith('aria-') || key === 'role' || key === 'for') node.setAttribute(key, value)
    else node[key] = value
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined))
  return node
}

export const $ = (id) => document.getElementById(id)

/** Only addresses that cannot run script. */
export function safeUrl(url) {
  try {
    const parsed = new URL(url, location.href)
    return ['http:', 'https:'].includes(parsed.protocol) ? parsed.href : null
  } catch {
    return null
  }
}

const HUES = 360

/** A colour of one's own for each id. */
export function colourOf(id) {
  let hash = 7
  for (const char of String(id)) hash = (hash * 31 + char.charCodeAt(0)) >>> 0
  return `hsl(${hash % HUES} 45% 42%)`
}

export async function api(method, path, body) {
  const response = await fetch(path, {
    method,
    headers: body === undefined ? {} : { 'Content-Type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  })
  const text = await response.text()
  const data = text ? JSON.parse(text) : null
  if (!response.ok) throw new Error(data?.message ? `${data.message} (${data.code})` : `HTTP ${response.status}`)
  return data
}

const INLINE = /(```[\s\S]+?```|`[^`\n]+`|\*\*[^*\n]+\*\*|__[^_\n]+__|~~[^~\n]+~~|\*[^*\n]+\*|<@[!&]?\d+>|<#\d+>|<a?:\w+:\d+>|https?:\/\/[^\s<>]+)/g

/** Discord's markdown, as far as chats need it, as nodes. `names` turns ids into names. */
export function markdown(text, names) {
  return String(text).split(INLINE).filter(Boolean).map((part) => inline(part, names))
}

function inline(part, names) {
  if (part.startsWith('```') && part.length > 6) {
    const code = part.slice(3, -3).replace(/^[\w+-]*\n/, '')
    return el('pre', {}, el('code', {}, code))
  }
  if (/^`[^`]+`$/.test(part)) return el('code', {}, part.slice(1, -1))
  if (/^\*\*.+\*\*$/.test(part)) return el('strong', {}, ...markdown(part.slice(2, -2), names))
  if (/^__.+__$/.test(part)) return el('u', {}, ...markdown(part.slice(2, -2), names))
  if (/^~~.+~~$/.test(part)) return el('s', {}, ...markdown(part.slice(2, -2), names))
  if (/^\*[^*]+\*$/.test(part)) return el('em', {}, ...markdown(part.slice(1, -1), names))
  const mention = /^<(@!?|@&|#)(\d+)>$/.exec(part)
  if (mention) return el('span', { className: 'mention' }, names(mention[1], mention[2]))
  const emoji = /^<a?:(\w+):\d+>$/.exec(part)
  if (emoji) return `:${emoji[1]}:`
  if (/^https?:/.test(part)) return el('a', { href: safeUrl(part) ?? '#', rel: 'noreferrer noopener', target: '_blank' }, part)
  return part
}
