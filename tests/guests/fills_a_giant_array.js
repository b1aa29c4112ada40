// Asks for an array of a gigabyte and fills it: refused, because V8 would answer by ending the process.
on('messageCreate', async ({ msg }) => {
  if (msg.content === 'go') new Array(2 ** 27).fill(1.5)
  console.log('fine')
})
