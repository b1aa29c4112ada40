// createBot, contexts, helpers, rest and kv as scripts use them.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Isolate } from './isolate.mjs'

/** A loaded script; whatever it registered with Discord is confirmed. */
const bot = (source) => {
  const isolate = new Isolate()
  const loaded = isolate.loadAndExtract(source)
  isolate.registered = loaded.o
  isolate.loaded = loaded
  if (loaded.o.length > 0) isolate.answer(...loaded.o.map(([id]) => [id, true, null]))
  return isolate
}
const message = (content, more = {}) => ({
  id: '1',
  channelId: '2',
  guildId: '42',
  content,
  author: { id: '3', bot: false },
  ...more,
})
const interaction = (commandName, options = [], more = {}) => ({
  interactionId: '7',
  interactionToken: 'token',
  channelId: '2',
  guildId: '42',
  commandName,
  data: { options },
  ...more,
})
const lines = (output) => output.l.map(([, text]) => text)
const sent = (output) => output.o.map(([, name, args]) => [name, ...args])

test('GIVEN prefix commands WHEN messages come THEN the first with that exact name runs with its arguments', () => {
  const isolate = bot(`createBot({ prefix: '?', commands: [
    prefix({ name: 'add', run: (ctx) => console.log('first', ctx.args, ctx.content, ctx.msg.id) }),
    { name: 'add', run: () => console.log('second') } ] })`)
  const heard = (content, more) => lines(isolate.event('messageCreate', message(content, more)))
  assert.deepEqual(heard('  ?  add 1   2\n3 '), ['first ["1","2","3"]   ?  add 1   2\n3  1'])
  for (const other of ['?ADD', '?addx', 'add', '!add', '?', '', null]) assert.deepEqual(heard(other), [])
  assert.deepEqual(heard('?add', { author: { bot: true } }), [])
})

test('GIVEN an empty prefix WHEN any message comes THEN its first word is the command', () => {
  const isolate = bot("createBot({ prefix: '', prefixCommands: [{ name: 'hi', run: (ctx) => ctx.reply('yo') }] })")
  assert.deepEqual(sent(isolate.event('messageCreate', message('hi there'))), [
    ['op_send_message', { content: 'yo', messageId: '1', channelId: '2' }],
  ])
})

test('GIVEN createBot called twice WHEN loaded THEN the second leaves a notice and nothing else', () => {
  const isolate = bot(
    "for (let i = 0; i < 2; i++) createBot({ slashCommands: [{ name: 'x', description: 'y', run() {} }] })",
  )
  assert.equal(isolate.registered.length, 1)
  assert.equal(isolate.loaded.l.length, 1)
  assert.equal(isolate.run('__floraHandlers.messageCreate.length + __floraHandlers.interactionCreate.length'), 2)
})

test('GIVEN slashCommands empty or left out WHEN loaded THEN stale commands are cleared or left alone', () => {
  assert.deepEqual(sent({ o: bot('createBot({ slashCommands: [] })').registered }), [
    ['op_upsert_guild_commands', { guildId: '42', commands: [] }],
  ])
  assert.deepEqual(bot('createBot({})').registered, [])
})

test('GIVEN a slash command WHEN used THEN its options are flat', () => {
  const isolate = bot(`createBot({ slashCommands: [slash({ name: 'say', description: 'd',
    options: [{ name: 'text', description: 't', type: 'string', required: true }],
    run: async ({ options, msg, reply }) => { await reply(options.text + options.n + msg.commandName) } })] })`)
  const output = isolate.event(
    'interactionCreate',
    interaction('say', [
      { name: 'text', type: 3, value: 'hey' },
      { name: 'n', type: 4, value: 5 },
    ]),
  )
  assert.deepEqual(sent(output), [
    ['op_send_interaction_response', { content: 'hey5say', interactionId: '7', token: 'token' }],
  ])
  assert.deepEqual(isolate.event('interactionCreate', interaction('other')).d[0][1], 'ok')
})

test('GIVEN subcommands WHEN registered and used THEN each has its own handler', () => {
  const isolate =
    bot(`createBot({ slashCommands: [{ name: 'todo', description: 'd', options: [{ name: 'ignored', description: 'i' }], subcommands: [
    { name: 'add', description: 'a', options: [{ name: 'what', description: 'w', type: 'string' }], run: (ctx) => console.log('add', ctx.options) },
    { name: 'list', description: 'l', run: (ctx) => console.log('list', ctx.options, getSubcommand(ctx)) } ] }] })`)
  assert.deepEqual(isolate.registered[0][2][0].commands, [
    {
      name: 'todo',
      description: 'd',
      options: [
        {
          name: 'add',
          description: 'a',
          type: 'subcommand',
          options: [{ name: 'what', description: 'w', type: 'string' }],
        },
        { name: 'list', description: 'l', type: 'subcommand' },
      ],
    },
  ])
  const heard = (options) => lines(isolate.event('interactionCreate', interaction('todo', options)))
  assert.deepEqual(heard([{ name: 'add', type: 1, options: [{ name: 'what', type: 3, value: 'milk' }] }]), [
    'add {"what":"milk"}',
  ])
  assert.deepEqual(heard([{ name: 'list', type: 1 }]), ['list {} list'])
  assert.deepEqual(heard([{ name: 'gone', type: 1 }]), [])
  assert.deepEqual(heard([]), [])
})

test('GIVEN plain, sub and grouped commands WHEN asked for the subcommand THEN groups and options are not mistaken for one', () => {
  const isolate = bot(
    "on('interactionCreate', (ctx) => console.log(String(getSubcommand(ctx)), String(getSubcommandGroup(ctx))))",
  )
  const heard = (options) => lines(isolate.event('interactionCreate', interaction('x', options)))[0]
  assert.equal(heard([{ name: 'text', type: 3, value: 'v' }]), 'undefined undefined')
  assert.equal(heard([{ name: 'sub', type: 1 }]), 'sub undefined')
  assert.equal(heard([{ name: 'group', type: 2, options: [{ name: 'leaf', type: 1 }] }]), 'leaf group')
  assert.equal(heard(null), 'undefined undefined')
})

test('GIVEN the ways to reply to a message WHEN used THEN the routing is as documented', () => {
  const isolate = bot("on('a', (ctx) => ctx.reply(ctx.msg.input))")
  const reply = (input, payload = { id: '1', channelId: '2' }) => sent(isolate.event('a', { ...payload, input }))[0][1]
  assert.deepEqual(reply('text'), { content: 'text', messageId: '1', channelId: '2' })
  assert.deepEqual(reply(5), { content: '5', messageId: '1', channelId: '2' })
  assert.deepEqual(reply({ content: 'x', replyTo: '9' }), { content: 'x', messageId: '9', channelId: '2' })
  assert.deepEqual(reply({ content: 'x', reply_to: '9' }), { content: 'x', messageId: '9', channelId: '2' })
  assert.deepEqual(reply({ content: 'x', replyTo: null }), { content: 'x', channelId: '2' })
  assert.deepEqual(reply({ content: 'x', messageId: '8' }), { content: 'x', messageId: '1', channelId: '2' })
  assert.deepEqual(reply({ content: 'x', channelId: '5' }), { content: 'x', channelId: '5', messageId: '1' })
  assert.deepEqual(reply('x', { messageId: '4', channelId: '2' }), { content: 'x', messageId: '4', channelId: '2' })
  assert.deepEqual(reply('x', { ids: ['1'], channelId: '2' }), { content: 'x', channelId: '2' })
})

test('GIVEN an event without a channel WHEN replied to THEN the promise rejects', () => {
  const isolate = bot("on('ready', (ctx) => ctx.reply('x').catch((e) => console.log(e.message)))")
  assert.match(lines(isolate.event('ready', { user: {}, guildIds: [] }))[0], /no channel/)
})

test('GIVEN an interaction WHEN replied to THEN ephemeral and flags combine', () => {
  const isolate = bot(
    "on('componentInteraction', async (ctx) => { await ctx.reply({ content: 'x', ephemeral: true, flags: 4, replyTo: '1' }) })",
  )
  const [[name, options]] = sent(isolate.event('componentInteraction', interaction(undefined)))
  assert.deepEqual(
    [name, options],
    ['op_send_interaction_response', { content: 'x', ephemeral: true, flags: 68, interactionId: '7', token: 'token' }],
  )
})

test('GIVEN ctx.edit WHEN there is a message, an interaction or neither THEN it edits, edits the response, or throws', () => {
  const isolate = bot("on('a', (ctx) => ctx.edit('new'))")
  assert.deepEqual(sent(isolate.event('a', { id: '1', channelId: '2' })), [
    ['op_edit_message', { content: 'new', channelId: '2', messageId: '1' }],
  ])
  assert.deepEqual(sent(isolate.event('a', interaction('x', [], { messageId: '6' }))), [
    ['op_edit_message', { content: 'new', channelId: '2', messageId: '6' }],
  ])
  assert.deepEqual(sent(isolate.event('a', interaction('x'))), [
    ['op_edit_original_interaction_response', { content: 'new', token: 'token' }],
  ])
  assert.match(isolate.event('a', { user: {} }).d.at(-1)[2], /no message to edit/)
})

test('GIVEN a context WHEN taken apart, spread or written to THEN it behaves like an object with msg, reply and edit', () => {
  const isolate = bot(`on('a', async (ctx) => {
    const copy = { ...ctx }
    console.log(Object.keys(ctx), copy.msg === ctx.msg, ctx.content, ctx.author.id, ctx.nothing === undefined)
    ctx.content = 'changed'
    console.log(ctx.content, ctx.msg.content)
    await copy.reply('x')
  })
  on('a', (ctx) => console.log(ctx.content, ctx.msg.seen = 1))
  on('a', (ctx) => console.log(ctx.msg.seen))`)
  const first = isolate.event('a', message('text'))
  assert.deepEqual(lines(first), ['["msg","reply","edit"] true text 3 true', 'changed text'])
  assert.equal(first.o.length, 1)
  assert.deepEqual(lines(isolate.answer([1, true, null])), ['text 1', '1'])
})

test('GIVEN rest methods WHEN called THEN each asks for its op with the options as they are', () => {
  const isolate = bot(
    'on("a", async () => { for (const name of Object.keys(rest)) rest[name]({ name }).catch(() => {}) })',
  )
  const asked = sent(isolate.event('a'))
  assert.equal(asked.length, 48)
  for (const [op, { name }] of asked)
    assert.equal(op, 'op_' + name.replace(/[A-Z]/g, (letter) => '_' + letter.toLowerCase()))
  const flags = bot("on('a', () => { rest.createFollowupMessage({ token: 't', content: 'x', ephemeral: true }) })")
  assert.equal(sent(flags.event('a'))[0][1].flags, 64)
})

test('GIVEN a store WHEN used THEN the ops get their arguments in order and results their shape', () => {
  const isolate = bot(`const s = kv.store('s')
    on('a', async () => {
      await s.set(5, 6, { expiration: 10n, metadata: { a: 1 } })
      await s.delete('k')
      await s.updateMetadata('k')
      console.log(await s.get('k'), await s.getWithMetadata('k'), await s.getWithMetadata('none'), await s.list({ prefix: 'p' }), store('x') instanceof KvStore)
    })`)
  const results = [
    null,
    null,
    null,
    'v',
    ['v', { expiration: null, metadata: { a: 1 } }],
    null,
    { keys: [], listComplete: true },
  ]
  let output = isolate.event('a')
  const asked = []
  for (const [index, result] of results.entries()) {
    asked.push(output.o[0].slice(1))
    output = isolate.answer([index + 1, true, result])
  }
  assert.deepEqual(asked, [
    ['op_kv_set', ['s', '5', '6', { expiration: 10, metadata: { a: 1 } }]],
    ['op_kv_delete', ['s', 'k']],
    ['op_kv_update_metadata', ['s', 'k', null]],
    ['op_kv_get', ['s', 'k']],
    ['op_kv_get_with_metadata', ['s', 'k']],
    ['op_kv_get_with_metadata', ['s', 'none']],
    ['op_kv_list_keys', [{ prefix: 'p' }, 's']],
  ])
  assert.deepEqual(lines(output), [
    'v {"value":"v","metadata":{"a":1}} {"value":null} {"keys":[],"listComplete":true} true',
  ])
})

test('GIVEN the default store WHEN used THEN values keep their type, and conditions and options go along', () => {
  const isolate = bot(`on('a', async () => {
      await kv.set('k', 6, { ttl: 60 })
      await kv.set('o', { deep: [1] })
      console.log(await kv.get('o'), await kv.getWithMetadata('o'), await kv.increment('n'), await kv.setIf('l', 'me', { absent: true, ttl: 5 }))
      await store('x').set('flag', true)
      await store('x').set('list', [1])
      await kv.set('u', undefined).catch((error) => console.log(error.message))
    })`)
  const results = [null, null, { deep: [1] }, [{ deep: [1] }, { expiration: 9, metadata: null }], 1, true, null, null]
  let output = isolate.event('a')
  const asked = []
  const said = []
  for (const [index, result] of results.entries()) {
    asked.push(output.o[0].slice(1))
    output = isolate.answer([index + 1, true, result])
    said.push(...lines(output))
  }
  assert.deepEqual(asked, [
    ['op_kv_set', ['default', 'k', 6, { ttl: 60 }]],
    ['op_kv_set', ['default', 'o', { deep: [1] }, null]],
    ['op_kv_get', ['default', 'o']],
    ['op_kv_get_with_metadata', ['default', 'o']],
    ['op_kv_increment', ['default', 'n', 1, null]],
    ['op_kv_set_if', ['default', 'l', 'me', { absent: true, ttl: 5 }]],
    ['op_kv_set', ['x', 'flag', 'true', null]],
    ['op_kv_set', ['x', 'list', [1], null]],
  ])
  assert.deepEqual(said, [
    '{"deep":[1]} {"value":{"deep":[1]},"metadata":null,"expiration":9} 1 true',
    'a value of type undefined cannot be kept in a store',
  ])
})

test('GIVEN the SDK WHEN its names are overwritten THEN the script has its way', () => {
  const isolate = bot(
    'globalThis.prefix = 1; const slash = 2; flora.rest = null; console.log(prefix, slash, typeof createBot, typeof flora.createBot)',
  )
  assert.deepEqual(lines(isolate.loaded), ['1 2 function function'])
})

test('GIVEN a member with roles WHEN asked THEN hasRole knows', () => {
  const isolate = bot("on('a', (ctx) => console.log(hasRole(ctx, '5')))")
  assert.deepEqual(lines(isolate.event('a', { member: { roles: ['4', '5'] } })), ['true'])
  assert.deepEqual(lines(isolate.event('a', { member: null })), ['false'])
})
