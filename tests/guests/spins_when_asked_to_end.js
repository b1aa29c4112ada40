// Waits for a moment, then loops: it is caught by the end of its isolate in either state.
on('messageCreate', async ({ msg }) => {
  if (msg.content === 'go') {
    await new Promise((wake) => { setTimeout(wake, 200) })
    while (true) { try { while (true) {} } finally { continue } }
  }
  console.log('fine')
})
