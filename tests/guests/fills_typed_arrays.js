// Keeps typed arrays, whose bytes V8 does not count against the heap limit; takes the refusal for an error and goes on.
const kept = []
on('messageCreate', async ({ msg }) => {
  if (msg.content === 'go') while (true) kept.push(new Uint8Array(1 << 20).fill(1))
  if (msg.content === 'slowly') kept.push(new Uint8Array(1 << 20).fill(1))
  if (msg.content === 'drop') kept.length = 0
  console.log('fine')
})
