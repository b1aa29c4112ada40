// A million log lines.
on('messageCreate', async ({ msg }) => {
  for (let i = 0; msg.content === 'go' && i < 1000000; i++) console.log('line ' + i)
  console.log('fine')
})
