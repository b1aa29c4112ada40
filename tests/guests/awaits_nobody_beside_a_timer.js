// Waits for a promise that nobody will settle, and keeps itself busy meanwhile.
setInterval(() => {}, 50)
on('messageCreate', async ({ msg }) => {
  if (msg.content === 'go') await new Promise(() => {})
  console.log('fine')
})
