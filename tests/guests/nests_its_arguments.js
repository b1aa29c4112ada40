// Asks for an operation whose argument is nested deeper than anybody reads.
on('messageCreate', async ({ msg }) => {
  let nested = []
  for (let i = 0; msg.content === 'go' && i < 3000; i++) nested = [nested]
  if (msg.content === 'go') await rest.sendMessage({ channelId: '1', embeds: nested })
  console.log('fine')
})
