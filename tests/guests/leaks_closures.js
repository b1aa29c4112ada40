// Every event leaves a closure behind that holds its payload and ten kilobytes more.
const kept = []
on('messageCreate', async ({ msg }) => {
  const more = new Array(1280).fill(kept.length + 0.5)
  kept.push(() => [msg, more])
  console.log('fine')
})
