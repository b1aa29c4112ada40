// Loses a little memory with every event.
const leak = []
on('messageCreate', async ({ msg }) => {
  for (let i = 0; i < 20000; i++) leak.push({ content: msg.content, i })
  console.log('fine')
})
