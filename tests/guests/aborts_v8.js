// Asks for a list longer than V8 can make, in one call that nobody can look into; V8 answers by ending the process.
on('messageCreate', async ({ msg }) => {
  let text = 'xx'
  if (msg.content === 'go') while (text.length <= 2 ** 27) text += text.length < 2 ** 27 ? text : 'xx'
  if (msg.content === 'go') /x/g[Symbol.match](text)
  console.log('fine')
})
