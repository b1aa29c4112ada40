// Loops when it is turned into JSON, which the host's own side does.
on('messageCreate', async (ctx) => {
  if (ctx.msg.content === 'go') await ctx.reply({ content: 'x', embeds: [{ toJSON() { while (true) {} } }] })
  console.log('fine')
})
