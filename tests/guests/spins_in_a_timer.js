// Loops in a timer's callback while its own event already waits.
on('messageCreate', async ({ msg }) => {
  if (msg.content === 'go') {
    await new Promise(() => setTimeout(() => { while (true) {} }, 0))
  }
  console.log('fine')
})
