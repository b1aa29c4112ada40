// One log line of a megabyte.
on('messageCreate', async ({ msg }) => {
  if (msg.content === 'go') console.log('y'.repeat(2 ** 20))
  console.log('fine')
})
