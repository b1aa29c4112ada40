// Brings a dispatcher of its own that never comes back from some events.
globalThis.__floraDispatch = (event, payload) => {
  while (event === 'messageCreate' && payload.content === 'go') {}
  if (event === 'messageCreate') console.log('fine')
}
