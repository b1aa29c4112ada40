// Merges payloads the careless way, so that their keys reach Object.prototype; then sends such keys to Discord.
const merge = (to, from) => {
  for (const key of Object.keys(from)) {
    if (typeof from[key] === 'object' && from[key] !== null) merge(to[key] ??= {}, from[key])
    else to[key] = from[key]
  }
}
const KEYS = '{"__proto__":{"polluted":"yes","c":"yes","cron":true,"id":"1","guildId":"1","content":"polluted"},'
  + '"constructor":{"prototype":{"polluted":"too"}},"toString":"yes"}'
on('messageCreate', async (ctx) => {
  if (ctx.msg.content === 'go') {
    merge({}, JSON.parse(KEYS))
    try {
      await ctx.reply(JSON.parse(KEYS))
    } catch {
      // Refused, as it should be.
    }
    console.log('polluted: ' + {}.polluted)
  }
  console.log('fine')
})
