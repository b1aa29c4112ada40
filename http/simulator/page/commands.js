// Slash commands: the list that opens on "/", and the form for a command's options.
import { $, el } from './dom.js'
import { input } from './ask.js'

const [SUB, GROUP] = [1, 2]
const BOOLEAN = [{ value: 'true', label: 'true' }, { value: 'false', label: 'false' }]

/** `[{path: "config set", description, options}]` of all commands, subcommands one by one. */
export function flatten(commands) {
  const found = []
  const walk = (path, node) => {
    const below = (node.options ?? []).filter((o) => o.type === SUB || o.type === GROUP)
    if (below.length) for (const child of below) walk(`${path} ${child.name}`, child)
    else found.push({ path, description: node.description, options: node.options ?? [] })
  }
  for (const command of commands) if (command.type === 1) walk(command.name, command)
  return found
}

function fieldOf(option, guild) {
  const users = guild.users.map((u) => ({ value: u.id, label: u.name }))
  const roles = guild.roles.map((r) => ({ value: r.id, label: r.name }))
  const byType = {
    5: BOOLEAN, 6: users, 8: roles, 9: [...users, ...roles],
    7: guild.channels.map((c) => ({ value: c.id, label: `#${c.name}` })),
  }
  const choices = option.choices?.length ? option.choices.map((c) => ({ value: c.value, label: c.name })) : byType[option.type]
  const mode = option.type === 4 ? 'numeric' : option.type === 10 ? 'decimal' : 'text'
  return { key: option.name, label: option.name, required: option.required, choices, mode, placeholder: option.description }
}

/** Shows the form of a command; `run(path, values)` is called when it is sent. */
export function openForm(command, guild, run, close) {
  const form = $('command')
  const fields = command.options.map((option) => fieldOf(option, guild))
  form.replaceChildren(
    el('strong', {}, `/${command.path}`, ' ', el('span', { className: 'hint' }, command.description)),
    ...fields.map((field) => el('label', {}, field.required ? `${field.label} *` : field.label, input(field))),
    el('button', { type: 'submit' }, 'Run'),
    el('button', { type: 'button', className: 'quiet', onclick: close }, 'Cancel'),
  )
  form.onsubmit = (event) => {
    event.preventDefault()
    run(command.path, Object.fromEntries(new FormData(form)))
  }
  form.onkeydown = (event) => event.key === 'Escape' && close()
  form.hidden = false
  form.querySelector('input, select, button')?.focus()
}

/** The list over the message box. Arrow keys, Enter and Escape work from the box. */
export class Picker {
  constructor(choose) {
    this.choose = choose
    this.shown = []
    this.at = 0
  }

  get open() { return this.shown.length > 0 }

  show(commands, typed) {
    const words = typed.slice(1).toLowerCase()
    this.shown = typed.startsWith('/') && !typed.includes('\n') ? commands.filter((c) => c.path.startsWith(words.trimEnd()) || words.startsWith(`${c.path} `)) : []
    this.at = 0
    this.render()
  }

  hide() {
    this.shown = []
    this.render()
  }

  move(by) {
    this.at = (this.at + by + this.shown.length) % this.shown.length
    this.render()
  }

  take() { this.choose(this.shown[this.at]) }

  render() {
    const list = $('picker')
    list.hidden = !this.open
    $('text').setAttribute('aria-expanded', String(this.open))
    list.replaceChildren(...this.shown.map((command, index) => el(
      'li',
      { role: 'option', id: `pick-${index}`, 'aria-selected': String(index === this.at), onmousedown: (event) => { event.preventDefault(); this.choose(command) } },
      el('b', {}, `/${command.path}`), el('span', {}, command.description),
    )))
    if (this.open) {
      $('text').setAttribute('aria-activedescendant', `pick-${this.at}`)
      list.children[this.at].scrollIntoView({ block: 'nearest' })
    } else $('text').removeAttribute('aria-activedescendant')
  }
}
