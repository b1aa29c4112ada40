// Asks for hundreds of internal addresses at once: all are refused, most of them before their turn.
on('messageCreate', async (msg) => {
  if (msg.content !== 'go') return console.log('fine')
  const asked = []
  for (let n = 0; n < 400; n++) asked.push(fetch(`http://${n % 2 ? 'localhost' : `127.0.0.${n % 250}`}:${8000 + n}/`))
  for (const { reason } of await Promise.allSettled(asked)) {
    if (!['FETCH_BLOCKED', 'FETCH_FAILED'].includes(reason?.code)) throw new Error('not refused: ' + reason)
  }
  console.log('fine')
})
