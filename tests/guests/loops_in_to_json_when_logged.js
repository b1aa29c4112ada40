// Loops when it is printed.
on('messageCreate', async (ctx) => {
  if (ctx.msg.content === 'go') console.log({ toJSON() { while (true) {} }, get text() { while (true) {} } })
  console.log('fine')
})
