// Makes and drops a little more in each event than one event needs; nothing is kept.
on('messageCreate', async () => {
  for (let i = 0; i < 20; i++) new Float64Array(1 << 17).fill(1)
  console.log('fine')
})
