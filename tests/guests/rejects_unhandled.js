// Leaves thousands of rejections that nobody handles.
on('messageCreate', async ({ msg }) => {
  for (let i = 0; msg.content === 'go' && i < 10000; i++) Promise.reject(new Error('nobody handles this'))
  console.log('fine')
})
