// Calls itself until the stack is used up.
const dive = (n) => dive(n + 1) + 1
on('messageCreate', async ({ msg }) => {
  if (msg.content === 'go') dive(0)
  console.log('fine')
})
