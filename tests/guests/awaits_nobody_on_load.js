// Its top level waits for a promise that nobody will settle.
setInterval(() => {}, 50)
await new Promise(() => {})
