// Loops in a continuation, outside the call the host made.
on('messageCreate', async ({ msg }) => {
  await null
  if (msg.content === 'go') while (true) {}
  console.log('fine')
})
