// Puts its own Promise in place of the real one, and breaks what is left of that.
const { prototype } = Promise
globalThis.Promise = class { then() { throw new Error('then') } static resolve() { throw new Error('resolve') } }
for (const name of ['then', 'catch', 'finally']) prototype[name] = () => { throw new Error(name) }
on('messageCreate', async () => { console.log('fine') })
