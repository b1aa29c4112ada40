// A hundred thousand timers at once, many of them due at the same moment.
on('messageCreate', async ({ msg }) => {
  if (msg.content === 'go') {
    for (let i = 0; i < 100000; i++) setTimeout(() => {}, 60000 + (i % 100))
  }
  console.log('fine')
})
