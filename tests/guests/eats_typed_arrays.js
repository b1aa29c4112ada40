// Forty times 64 MB outside the heap, each page written to.
const kept = []
on('messageCreate', async ({ msg }) => {
  for (let i = 0; msg.content === 'go' && i < 40; i++) kept.push(new Uint8Array(2 ** 26).fill(1))
  console.log('fine')
})
