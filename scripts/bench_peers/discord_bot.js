// A plain discord.js bot, as its guide would have it written; the benchmark measures flora beside it.
// Reads DISCORD_TOKEN and DISCORD_API_BASE. Prints `ready` once it is connected. Nothing in here knows of flora.
import { Client, Events, GatewayIntentBits } from 'discord.js'

const [, api, version] = process.env.DISCORD_API_BASE.match(/^(.*)\/v(\d+)$/)

const client = new Client({
  intents: [GatewayIntentBits.Guilds, GatewayIntentBits.GuildMessages, GatewayIntentBits.MessageContent],
  // Its own brake of 50 calls a second would be all that is measured. The simulated Discord has rate limits off, too.
  rest: { api, version, globalRequestsPerSecond: Number.POSITIVE_INFINITY },
})
const seen = new Map()

client.once(Events.ClientReady, () => console.log('ready'))

client.on(Events.MessageCreate, async (message) => {
  if (message.author.bot) return
  if (message.content === '!ping') {
    await message.reply('Pong!')
  } else if (message.content === '!seen') {
    await message.reply(String(seen.get(message.guildId) ?? 0))
    seen.delete(message.guildId)
  } else {
    seen.set(message.guildId, (seen.get(message.guildId) ?? 0) + 1)
  }
})

await client.login(process.env.DISCORD_TOKEN)
