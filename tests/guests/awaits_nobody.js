// Waits for a promise that nobody will settle.
on('messageCreate', async ({ msg }) => {
  if (msg.content === 'go') await new Promise(() => {})
  console.log('fine')
})
