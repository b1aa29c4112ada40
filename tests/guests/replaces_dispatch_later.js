// Puts junk where the host looked for the dispatcher, once it has looked.
on('messageCreate', async ({ msg }) => {
  if (msg.content === 'go') {
    globalThis.__floraDispatch = 'junk'
    globalThis.__floraHandlers = null
  }
  console.log('fine')
})
