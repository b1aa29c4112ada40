// Each promise starts two more: the queue of microtasks never ends and only grows.
on('messageCreate', async ({ msg }) => {
  const grow = () => { Promise.resolve().then(grow); Promise.resolve().then(grow) }
  if (msg.content === 'go') grow()
  console.log('fine')
})
