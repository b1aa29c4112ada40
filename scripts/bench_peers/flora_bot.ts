// The same bot as a guild script. Its globals are its guild's own, so one counter does.
let seen = 0

on('messageCreate', async (msg) => {
  if (msg.author.bot) return
  if (msg.content === '!ping') {
    await msg.reply('Pong!')
  } else if (msg.content === '!seen') {
    const count = seen
    seen = 0
    await msg.reply(String(count))
  } else {
    seen += 1
  }
})
