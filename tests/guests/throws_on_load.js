// Fails before it has registered anything.
throw new Error('broken on purpose')
