// Breaks every method of arrays, their iterator, and the reading of their elements.
on('messageCreate', async () => { console.log('fine') })
const junk = { get() { return 'hijacked' }, set() { throw new Error('set') }, configurable: true }
const { prototype } = Array
for (const name of Object.getOwnPropertyNames(prototype)) {
  if (name !== 'constructor' && name !== 'length') prototype[name] = () => { throw new Error(name) }
}
prototype[Symbol.iterator] = () => { throw new Error('iterator') }
for (let i = 0; i < 5; i++) Object.defineProperty(prototype, i, junk)
