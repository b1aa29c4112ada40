// The page: state, what people do, and live updates.
import { $, api, el } from './dom.js'
import { isFor, messageNode } from './message.js'
import { ask, modalFields } from './ask.js'
import { flatten, openForm, Picker } from './commands.js'

const RESPONSE_WAIT_S = 3.5
const SHOWN = 200
const state = { guilds: [], guild: null, channelId: null, userId: null, messages: new Map(), commands: [], replyTo: null }

const channelOf = (id) => state.guild?.channels.find((c) => c.id === id)
const notice = (text) => { $('notice').textContent = text; $('notice').hidden = !text }

/** Runs something that may fail, and shows why. */
async function attempt(work) {
  notice('')
  try { return await work() } catch (error) { notice(error.message) }
}

function names(kind, id) {
  if (kind === '#') return `#${channelOf(id)?.name ?? id}`
  const list = kind === '@&' ? state.guild.roles : state.guild.users
  return `@${list.find((entry) => entry.id === id)?.name ?? id}`
}

// Drawing

function drawGuild() {
  $('guild').replaceChildren(...state.guilds.map((g) => el('option', { value: g.id, selected: g.id === state.guild?.id }, g.name + (g.unavailable ? ' (outage)' : ''))))
  const guild = state.guild
  $('guild-id').textContent = guild?.id ?? ''
  $('owner-id').textContent = guild?.owner_id ?? ''
  const people = guild?.users.filter((u) => !u.bot) ?? []
  $('user').replaceChildren(...people.map((u) => el('option', { value: u.id, selected: u.id === state.userId }, u.name)))
  const channels = (guild?.channels ?? []).filter((c) => c.type !== 4)
  $('channels').replaceChildren(...channels.map((c) => el('li', { className: c.type >= 10 && c.type <= 12 ? 'thread' : '' },
    el('button', { type: 'button', 'aria-current': String(c.id === state.channelId), onclick: () => openChannel(c.id) }, `# ${c.name}`))))
  $('channel-name').textContent = channelOf(state.channelId) ? `# ${channelOf(state.channelId).name}` : ''
  document.title = `${guild?.name ?? ''} · Simulated Discord`
}

const view = () => ({ guild: state.guild, userId: state.userId, names, act })

let atEnd = true
/** Whoever reads the newest messages keeps seeing them, whatever grows or shrinks. */
function stay() {
  if (atEnd) $('messages').scrollTop = $('messages').scrollHeight
}

function drawMessages() {
  const list = $('messages')
  const shown = [...state.messages.values()].filter((m) => isFor(m, state.userId)).slice(-SHOWN)
  list.replaceChildren(...shown.map((m) => messageNode(m, view())))
  stay()
}

/** Draws one new or changed message, without touching the others (and what somebody has open there). */
function drawMessage(message) {
  const list = $('messages')
  const old = $(`m${message.id}`)
  if (!isFor(message, state.userId)) return old?.remove()
  const node = messageNode(message, view())
  if (old) old.replaceWith(node)
  else list.append(node)
  while (list.children.length > SHOWN) list.firstChild.remove()
  stay()
}

// Loading

async function loadGuilds() {
  state.guilds = await api('GET', '/sim/guilds')
  const [guildId, channelId, userId] = location.hash.slice(1).split('/')
  const wanted = state.guild?.id ?? guildId
  state.guild = state.guilds.find((g) => g.id === wanted) ?? state.guilds[0] ?? null
  const keep = (list, ...ids) => ids.find((id) => list.some((entry) => entry.id === id)) ?? list[0]?.id ?? null
  state.channelId = keep(state.guild?.channels.filter((c) => c.type !== 4) ?? [], state.channelId, channelId)
  state.userId = keep(state.guild?.users.filter((u) => !u.bot) ?? [], state.userId, userId)
  drawGuild()
}

async function loadCommands() {
  state.commands = state.guild ? flatten(await api('GET', `/sim/guilds/${state.guild.id}/commands`)) : []
}

async function loadMessages() {
  const found = state.channelId ? await api('GET', `/sim/channels/${state.channelId}/messages?limit=${SHOWN}`) : []
  state.messages = new Map(found.map((m) => [m.id, m]))
  drawMessages()
}

function remember() {
  history.replaceState(null, '', `#${state.guild?.id ?? ''}/${state.channelId ?? ''}/${state.userId ?? ''}`)
}

async function openChannel(id) {
  state.channelId = id
  atEnd = true
  cancelReply()
  remember()
  drawGuild()
  await attempt(loadMessages)
  $('text').focus()
}

async function openGuild(id) {
  state.guild = state.guilds.find((g) => g.id === id) ?? null
  state.channelId = state.userId = null
  await attempt(loadAll)
  remember()
}

// What people do

function cancelReply() {
  state.replyTo = null
  $('replying').hidden = true
}

async function send(content) {
  const body = { content, author_id: state.userId, reply_to: state.replyTo ?? undefined }
  cancelReply()
  await attempt(() => api('POST', `/sim/channels/${state.channelId}/messages`, body))
}

/** Sends an interaction, waits for the answer and shows a modal if it is one. */
async function interact(kind, body) {
  const base = `/sim/guilds/${state.guild.id}/interactions`
  const result = await attempt(() => api('POST', `${base}/${kind}`, { ...body, user_id: state.userId, wait_s: RESPONSE_WAIT_S }))
  if (!result) return
  if (result.response_type === null) return notice('The application did not respond in time.')
  if (!result.modal) return
  const values = await ask(result.modal.title, modalFields(result.modal, state.guild), 'Submit')
  if (values) await interact('modal', { interaction_id: result.interaction_id, values })
}

const act = {
  component: (message, customId, values) => interact('component', { message_id: message.id, custom_id: customId, values }),
  react: (message, emoji) => {
    const name = encodeURIComponent(emoji.id ? `${emoji.name}:${emoji.id}` : emoji.name)
    return attempt(() => api('PUT', `/sim/channels/${message.channel_id}/messages/${message.id}/reactions/${name}`, { user_id: state.userId }))
  },
  reply: (message) => {
    state.replyTo = message.id
    $('replying').firstElementChild.textContent = `Replying to ${message.author.global_name ?? message.author.username}`
    $('replying').hidden = false
    $('text').focus()
  },
  edit: async (message) => {
    const values = await ask('Edit message', [{ key: 'content', label: 'Message', value: message.content, long: true, required: true, max: 2000 }], 'Save')
    if (values) await attempt(() => api('PATCH', `/sim/channels/${message.channel_id}/messages/${message.id}`, values))
  },
  remove: (message) => attempt(() => api('DELETE', `/sim/channels/${message.channel_id}/messages/${message.id}`)),
}

function closeForm() {
  $('command').hidden = true
  $('text').focus()
}

const picker = new Picker((command) => {
  picker.hide()
  $('text').value = ''
  const run = (path, options) => {
    closeForm()
    interact('command', { name: path, options, channel_id: state.channelId })
  }
  openForm(command, state.guild, run, closeForm)
})

function listen() {
  const list = $('messages')
  list.addEventListener('scroll', () => { atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80 })
  new ResizeObserver(stay).observe(list)
  $('composer').addEventListener('submit', (event) => {
    event.preventDefault()
    const text = $('text').value
    if (picker.open) return picker.take()
    $('text').value = ''
    if (text.trim()) send(text)
  })
  $('text').addEventListener('input', () => picker.show(state.commands, $('text').value))
  $('text').addEventListener('blur', () => picker.hide())
  $('text').addEventListener('keydown', (event) => {
    if (picker.open && ['ArrowDown', 'ArrowUp', 'Escape', 'Tab'].includes(event.key)) {
      event.preventDefault()
      if (event.key === 'Escape') picker.hide()
      else if (event.key === 'Tab') picker.take()
      else picker.move(event.key === 'ArrowDown' ? 1 : -1)
    } else if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault()
      $('composer').requestSubmit()
    }
  })
  $('replying').querySelector('button').addEventListener('click', cancelReply)
  $('guild').addEventListener('change', (event) => openGuild(event.currentTarget.value))
  $('user').addEventListener('change', (event) => { state.userId = event.currentTarget.value; remember(); drawMessages() })
  $('copy-id').addEventListener('click', () => attempt(() => navigator.clipboard.writeText(state.guild?.id ?? '')))
  $('new-guild').addEventListener('click', () => create('New guild', 'Name', '/sim/guilds', (made) => openGuild(made.id)))
  $('new-channel').addEventListener('click', () => create('New channel', 'Name', `/sim/guilds/${state.guild?.id}/channels`, (made) => openChannel(made.id)))
  $('new-user').addEventListener('click', () => create('New user', 'Name', `/sim/guilds/${state.guild?.id}/users`, (made) => { state.userId = made.id; drawGuild(); remember(); drawMessages() }))
}

async function create(title, label, path, done) {
  const values = await ask(title, [{ key: 'name', label, required: true, max: 32 }])
  if (!values) return
  await attempt(async () => {
    const made = await api('POST', path, values)
    await loadGuilds()
    await done(made)
  })
}

// Live updates

const planned = new Map()
/** Several changes in a row load the same thing once. */
function soon(load) {
  clearTimeout(planned.get(load))
  planned.set(load, setTimeout(() => attempt(load), 80))
}

async function loadAll() {
  await loadGuilds()
  await loadCommands()
  await loadMessages()
}

const onEvent = {
  MESSAGE_CREATE: (m) => keep(m),
  MESSAGE_UPDATE: (m) => keep(m),
  EPHEMERAL: (m) => keep(m),
  MESSAGE_DELETE: (d) => forget([d.id]),
  MESSAGE_DELETE_BULK: (d) => forget(d.ids),
  COMMANDS: () => attempt(loadCommands),
  RELOAD: () => soon(loadAll),
}

function keep(message) {
  if (message.channel_id !== state.channelId) return
  const known = state.messages.get(message.id)
  const whole = { ...known, ...message }
  state.messages.set(message.id, whole)
  while (state.messages.size > SHOWN) state.messages.delete(state.messages.keys().next().value)
  drawMessage(whole)
}

function forget(ids) {
  for (const id of ids) {
    state.messages.delete(id)
    $(`m${id}`)?.remove()
  }
}

function handle({ event, data }) {
  if (onEvent[event]) return onEvent[event](data)
  if (event.startsWith('MESSAGE_REACTION_') && data.channel_id === state.channelId) return soon(loadMessages)
  if (/^(GUILD|CHANNEL|THREAD)_/.test(event) && event !== 'CHANNEL_PINS_UPDATE') soon(loadGuilds)
}

function connect() {
  const source = new EventSource('/sim/events')
  const show = (text, live) => { $('status').textContent = text; $('status').classList.toggle('live', live) }
  source.onopen = () => { show('live', true); onEvent.RELOAD() }
  source.onerror = () => show('connection lost, trying again…', false)
  source.onmessage = (message) => handle(JSON.parse(message.data))
}

listen()
await attempt(loadAll)
remember()
connect()
