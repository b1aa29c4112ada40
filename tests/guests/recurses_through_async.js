// Awaits itself without end: the heap takes the place of the stack.
const dive = async (n) => { await null; await dive(n + 1) }
on('messageCreate', async ({ msg }) => {
  if (msg.content === 'go') await dive(0)
  console.log('fine')
})
