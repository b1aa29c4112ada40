// Sorts ten million numbers: seconds inside V8 without one look at whether it should stop.
on('messageCreate', async ({ msg }) => {
  if (msg.content === 'go') {
    const numbers = []
    for (let i = 0; i < 1e7; i++) numbers.push(Math.random())
    numbers.sort()
  }
  console.log('fine')
})
