// The bot a guild gets before anyone has deployed one. Everything it uses is a global: nothing to import.

const ping = prefix({
  name: 'ping',
  run: (ctx) => ctx.reply('Pong!'),
})

const hello = slash({
  name: 'hello',
  description: 'Says hello',
  options: [{ name: 'name', description: 'Whom to greet', type: 'string' }],
  run: (ctx) => ctx.reply(`Hello, ${ctx.options.name ?? ctx.msg.user.username}!`),
})

const counter = slash({
  name: 'counter',
  description: 'Counts how often it was used here',
  run: async (ctx) => ctx.reply(`Counter: ${await store('counter').increment('count')}`),
})

createBot({ prefix: '!', commands: [ping], slashCommands: [hello, counter] })
