// Each step is one multiplication inside V8, and each takes longer than the last.
on('messageCreate', async ({ msg }) => {
  for (let n = 3n; msg.content === 'go'; ) n = n.toString().length > 400000 ? 3n : n * n
  console.log('fine')
})
