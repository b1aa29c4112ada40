// Intervals of no length that start more of their kind.
const multiply = () => { setInterval(multiply, 0) }
on('messageCreate', async ({ msg }) => {
  if (msg.content === 'go') multiply()
  console.log('fine')
})
