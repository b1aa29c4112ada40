// A dialog with a few fields; also what a bot's modal looks like.
import { $, el } from './dom.js'

let count = 0
$('ask-cancel').addEventListener('click', () => $('ask').close('cancel'))

/**
 * Asks for values. Fields: `{key, label, value?, required?, long?, max?, choices?}`.
 * Resolves to `{key: text}`, or null when cancelled.
 */
export function ask(title, fields, okLabel = 'Create') {
  const dialog = $('ask')
  $('ask-title').textContent = title
  $('ask-ok').textContent = okLabel
  const inputs = new Map(fields.map((field) => [field.key, input(field)]))
  $('ask-fields').replaceChildren(...fields.map((field) => el('label', {}, field.label, inputs.get(field.key))))
  dialog.returnValue = 'cancel'
  dialog.showModal()
  inputs.values().next().value?.focus()
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      // Chromium gives the focus back but leaves the caret in the closed dialog: typing would go nowhere.
      const back = document.activeElement
      back?.blur()
      back?.focus()
      if (dialog.returnValue !== 'ok') return resolve(null)
      resolve(Object.fromEntries([...inputs].map(([key, node]) => [key, valueOf(node)])))
    }, { once: true })
  })
}

function valueOf(node) {
  return node.multiple ? [...node.selectedOptions].map((option) => option.value) : node.value
}

/** An input for one field or one option of a command. */
export function input(field) {
  const id = `field-${++count}`
  const shared = { id, required: Boolean(field.required), name: field.key }
  if (field.choices) {
    const options = field.choices.map((choice) => el('option', { value: choice.value }, choice.label))
    const none = field.required || field.many ? [] : [el('option', { value: '' }, '')]
    return el('select', { ...shared, multiple: Boolean(field.many) }, ...none, ...options)
  }
  const text = { ...shared, value: field.value ?? '', placeholder: field.placeholder ?? '', maxLength: field.max ?? 4000 }
  return field.long ? el('textarea', text) : el('input', { ...text, type: 'text', inputMode: field.mode ?? 'text' })
}

/** The fields of a bot's modal: rows of inputs, or labels that hold one component. */
export function modalFields(modal, guild) {
  const inner = (component) => component.component ?? component.components?.[0] ?? component
  return modal.components.map((row) => ({ row, component: inner(row) })).filter(({ component }) => component.custom_id).map(({ row, component }) => ({
    key: component.custom_id,
    label: row.label ?? component.label ?? component.custom_id,
    value: component.value,
    placeholder: component.placeholder,
    required: component.required ?? true,
    long: component.style === 2,
    max: component.max_length,
    many: (component.max_values ?? 1) > 1,
    choices: component.options ?? (component.type === 5 ? guild.users.map((u) => ({ value: u.id, label: u.name })) : undefined),
  }))
}
