// Payloads that are proxies: endless, self-referring, and throwing from every trap.
const endless = new Proxy({}, {
  ownKeys: () => Array.from({ length: 1000 }, (_, i) => 'k' + i),
  getOwnPropertyDescriptor: () => ({ value: endless, enumerable: true, configurable: true }),
  get: () => endless,
})
const throwing = new Proxy({}, new Proxy({}, { get() { throw new Error('a trap threw') } }))
on('messageCreate', async (ctx) => {
  if (ctx.msg.content === 'go') {
    for (const payload of [throwing, { content: throwing }, new Proxy([], {}), endless]) {
      console.log(payload)
      try {
        await ctx.reply(payload)
      } catch {
        // Refused, as it should be.
      }
    }
  }
  console.log('fine')
})
