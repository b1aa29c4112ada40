// Builds a text by doubling and reads it, which makes V8 lay it out in one piece; the heap limit only sees that at the next collection.
const kept = []
on('messageCreate', async (ctx) => {
  const { msg } = ctx
  if (msg.content === 'go') {
    let text = 'x'
    while (text.length < 2 ** 28) text += text
    kept.push(text)
    text.charCodeAt(5)
    await new Promise((wake) => setTimeout(wake, 1000))
  }
  console.log('fine')
})
