// Takes running out of memory for an error one can catch.
on('messageCreate', async ({ msg }) => {
  const kept = []
  while (msg.content === 'go') {
    try {
      while (true) kept.push({ text: 'x'.repeat(100) + kept.length })
    } catch {
      continue
    } finally {
      continue
    }
  }
  console.log('fine')
})
