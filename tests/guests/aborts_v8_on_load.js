// Brings V8 to its end before it has registered anything.
'x'.repeat(2 ** 28).split('')
