// A regular expression that tries every way to split a string.
on('messageCreate', async ({ msg }) => {
  if (msg.content === 'go') /^(a+)+$/.test('a'.repeat(60) + '!')
  console.log('fine')
})
