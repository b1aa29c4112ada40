// Puts something that is no function where the host looks for the dispatcher.
on('messageCreate', async () => { console.log('fine') })
globalThis.__floraDispatch = { junk: true }
