// Puts its own JSON in place of the real one.
globalThis.JSON = { parse: () => ({ e: [[1, 'messageCreate', {}]] }), stringify: () => '{"d":[[1,"ok",null,0]]}' }
on('messageCreate', async () => { console.log('fine') })
