// Never comes back from its handler.
on('messageCreate', async ({ msg }) => {
  if (msg.content === 'go') while (true) {}
  console.log('fine')
})
