// The shortest bot there is. It answers every message, those of bots included: in a busy guild you will want to look at
// `msg.author.bot` first.
on('messageCreate', async (msg) => { await msg.reply('Hello!') })
