// Splits a text into more parts than V8 can list: refused, because V8 would answer by ending the process.
on('messageCreate', async ({ msg }) => {
  let text = 'x'
  while (msg.content === 'go' && text.length < 2 ** 28) text += text
  if (msg.content === 'go') text.split('')
  console.log('fine')
})
