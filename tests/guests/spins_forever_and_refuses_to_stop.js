// Catches what it can and starts over.
on('messageCreate', async ({ msg }) => {
  while (msg.content === 'go') {
    try {
      while (true) {}
    } catch {
      continue
    } finally {
      continue
    }
  }
  console.log('fine')
})
