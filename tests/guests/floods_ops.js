// A hundred thousand calls at once; only the last one is awaited.
on('messageCreate', async ({ msg }) => {
  if (msg.content === 'go') {
    const react = () => rest.addReaction({ channelId: msg.channelId, messageId: '1', emoji: 'x' })
    for (let i = 0; i < 100000; i++) react().catch(() => {})
    await react()
  }
  console.log('fine')
})
