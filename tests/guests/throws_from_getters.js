// Hands out objects whose getters throw: to the log, to Discord, and as the error itself.
const trap = { get content() { throw new Error('a getter threw') }, get embeds() { throw new Error('a getter threw') } }
on('messageCreate', async (ctx) => {
  if (ctx.msg.content === 'go') {
    console.log(trap)
    try {
      await ctx.reply(trap)
    } catch (error) {
      console.log(String(error))
    }
    const error = new Error('never read')
    Object.defineProperty(error, 'stack', { get() { throw new Error('stack') } })
    Object.defineProperty(error, 'message', { get() { throw new Error('message') } })
    throw error
  }
  console.log('fine')
})
