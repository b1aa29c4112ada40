// Keeps everything it makes.
on('messageCreate', async ({ msg }) => {
  const kept = []
  while (msg.content === 'go') kept.push({ text: 'x'.repeat(100) + kept.length })
  console.log('fine')
})
