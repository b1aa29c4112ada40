// Every @example of the declarations, compiled; test/documents.test.mjs keeps the two the same.

{
cron('morning', '0 8 * * *', async () => {
  await rest.sendMessage({ channelId: '1', content: 'Good morning' })
})
}

{
createBot({ commands: [prefix({ name: 'ping', run: (ctx) => ctx.reply('Pong!') })] })
}

{
const roll = slash({
  name: 'roll',
  description: 'Rolls a die',
  options: [{ name: 'sides', description: 'How many', type: 'integer', required: true }],
  run: (ctx) => ctx.reply(`${1 + Math.floor(Math.random() * ctx.options.sides)}`),
})
createBot({ slashCommands: [roll] })
}

{
on('messageCreate', (ctx) => ctx.reply({ embeds: [embed().setTitle('Score').addField('Red', '3', true)] }))
}

{
on('messageCreate', async (ctx) => {
  if (ctx.content !== '!status') return
  const response = await fetch('https://api.example.com/status', { signal: AbortSignal.timeout(2000) })
  const status: { text: string } = await response.json()
  await ctx.reply(response.ok ? status.text : `no answer: ${response.status}`)
})
}
