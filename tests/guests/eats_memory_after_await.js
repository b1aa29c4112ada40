// Keeps everything it makes, outside the call the host made.
on('messageCreate', async ({ msg }) => {
  const kept = []
  while (msg.content === 'go') {
    await null
    kept.push({ text: 'x'.repeat(100) + kept.length })
  }
  console.log('fine')
})
