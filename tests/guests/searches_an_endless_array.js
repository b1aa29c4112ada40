// Looks for a number in an array of holes: seconds inside V8 without one look at whether it should stop, and next to no memory.
on('messageCreate', async ({ msg }) => {
  if (msg.content === 'go') {
    const holes = []
    holes[1e9] = 1
    holes.indexOf(2)
  }
  console.log('fine')
})
