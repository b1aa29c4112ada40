// Asks for an array longer than V8 can make; V8 answers by ending the process.
on('messageCreate', async ({ msg }) => {
  if (msg.content === 'go') 'x'.repeat(2 ** 28).split('')
  console.log('fine')
})
