// Makes ever longer strings and keeps them all, flat.
on('messageCreate', async ({ msg }) => {
  const kept = []
  for (let text = 'x'; msg.content === 'go'; ) {
    text = text.length < 2 ** 24 ? text + text : text.slice(1) + kept.length
    JSON.stringify(text)
    kept.push(text)
  }
  console.log('fine')
})
