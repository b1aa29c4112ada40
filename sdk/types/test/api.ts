// The declarations, tested by the type checker: each `@ts-expect-error` fails the check when the error does not come.

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const holds = <T extends true>(): T | undefined => undefined

on('messageCreate', async (msg) => {
  await msg.reply('Hello!')
  holds<Same<typeof msg.content, string>>()
  holds<Same<typeof msg.msg.author.bot, boolean>>()
  // @ts-expect-error messages have no command name
  msg.commandName
})
on('componentInteraction', (ctx) => holds<Same<typeof ctx.msg.data.values, string[] | null>>())
on('ready', (ctx) => ctx.msg.user.id)
on('something of mine', (ctx) => ctx.msg.anything)
// @ts-expect-error a handler is needed
on('ready')

createBot()
createBot({
  prefix: '?',
  commands: [prefix({ name: 'a', run: ({ args, reply }) => reply(args.join()) })],
  slashCommands: [],
  overlap: 1,
})
// @ts-expect-error the prefix is text
createBot({ prefix: 5 })
// @ts-expect-error run is needed
prefix({ name: 'a' })

slash({
  name: 'roll',
  description: 'd',
  options: [
    { name: 'sides', description: 's', type: 'integer', required: true },
    { name: 'label', description: 'l' },
    { name: 'loud', description: 'x', type: 'boolean' },
  ],
  run: (ctx) => {
    holds<Same<typeof ctx.options.sides, number>>()
    holds<Same<typeof ctx.options.label, string | undefined>>()
    holds<Same<typeof ctx.options.loud, boolean | undefined>>()
    // @ts-expect-error no such option
    ctx.options.other
  },
})
slash({ name: 'x', description: 'y', run: (ctx) => ctx.options.anything })
slash({ name: 'x', description: 'y', subcommands: [{ name: 'z', description: 'z', run: (ctx) => getSubcommand(ctx) }] })
// @ts-expect-error no such option type
slash({ name: 'x', description: 'y', options: [{ name: 'o', description: 'p', type: 'strnig' }], run() {} })

cron(
  'job',
  '@daily',
  (ctx) => {
    holds<Same<typeof ctx.name, string>>()
    holds<Same<typeof ctx.msg.scheduledAt, string>>()
  },
  { skipIfRunning: true, catchUp: 'once' },
)
// @ts-expect-error no such choice
cron('job', '@daily', () => {}, { catchUp: 'all' })
// @ts-expect-error a handler is needed
cron('job', '@daily')

holds<Same<ReturnType<typeof secrets.get>, string | null>>()

async function storage(): Promise<void> {
  const things = kv.store('things')
  await things.set('a', 'b', { expiration: 5n, metadata: { x: 1 } })
  holds<Same<Awaited<ReturnType<typeof things.get>>, string | null>>()
  const { keys, listComplete } = await new KvStore('x').list({ limit: 5 })
  holds<Same<typeof listComplete, boolean>>()
  keys.map((key) => key.name)
  // @ts-expect-error values are text
  await things.set('a', 5)
  holds<Same<Awaited<ReturnType<typeof things.increment>>, number>>()
  await things.setIf('a', 'b', { absent: true, ttl: 60 })
  // @ts-expect-error what to compare with is needed
  await things.setIf('a', 'b', { ttl: 60 })
  await kv.set('a', { any: ['thing', 5, null] }, { ttl: 60 })
  await kv.set('hits', ((await kv.get('hits')) ?? 0) + 1)
}

async function operations(): Promise<void> {
  const sent = await rest.sendMessage({
    channelId: '1',
    content: 'x',
    attachments: [{ url: { url: 'https://x.example' } }],
  })
  await rest.editMessage({ channelId: '1', messageId: sent.id, flags: MessageFlags.SUPPRESS_EMBEDS })
  await rest.banMember({ guildId: __floraGuildId, userId: '1', deleteMessageSeconds: 60, reason: 'r' })
  await rest.executeWebhook({ webhookId: '1', token: 't', content: 'x', wait: true })
  // @ts-expect-error ids are text
  await rest.deleteMessage({ channelId: 1, messageId: '2' })
  // @ts-expect-error no such operation
  await rest.createRole({})
}

on('messageCreate', (ctx) =>
  ctx.reply({
    flags: MessageFlags.IS_COMPONENTS_V2,
    components: [
      container()
        .addComponents(textDisplay('x'), section().setAccessory(thumbnail('https://x.example')))
        .setAccentColor(0xff0000),
      actionRow().addComponents(
        [button().setStyle(ButtonStyle.Primary).setCustomId('a')],
        stringSelect('s').addOptions({ label: 'l', value: 'v' }),
      ),
    ],
  }),
)
holds<Same<ReturnType<typeof userSelect>, UserSelectMenuBuilder>>()
// @ts-expect-error a select needs its id
stringSelect()
// @ts-expect-error colours are numbers
embed().setColor('red')

const url = new URL('https://x.example/?a=b')
url.searchParams.set('a', 'c')
const id = setTimeout((n: number) => console.log(n), 10, 5)
clearTimeout(id)
console.table([{ a: 1 }])
new AbortController().signal.addEventListener('abort', () => {}, { once: true })
holds<Same<typeof ButtonStyle.Primary, 1>>()
holds<Same<typeof flora.createBot, typeof createBot>>()
void [
  storage,
  operations,
  crypto.randomUUID(),
  performance.now(),
  structuredClone({ a: 1 }),
  new TextEncoder().encode('x'),
]
// @ts-expect-error there is no file system
require('fs')
// @ts-expect-error nor a document
document.title

async function fetching(): Promise<void> {
  const form = new FormData()
  form.append('file', new File(['x'], 'x.txt'))
  const response = await fetch(new URL('https://x.example'), { method: 'POST', headers: { a: 'b' }, body: form, redirect: 'manual' })
  holds<Same<typeof response.ok, boolean>>()
  for (const [name, value] of response.headers) console.log(name, value)
  await fetch(new Request('https://x.example', { body: new Uint8Array(1), method: 'PUT', signal: AbortSignal.timeout(1) }))
  try {
    await response.json()
  } catch (error) {
    if ((error as FetchError).code === 'FETCH_TIMEOUT') return
  }
  // @ts-expect-error bodies are not objects
  await fetch('https://x.example', { method: 'POST', body: { a: 1 } })
  // @ts-expect-error there are no streams
  response.body
  // @ts-expect-error text has no file name
  form.append('a', 'b', 'c')
}
void fetching
