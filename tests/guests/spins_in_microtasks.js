// Gives control back all the time, and takes it again at once.
on('messageCreate', async ({ msg }) => {
  while (msg.content === 'go') await 0
  console.log('fine')
})
