// Brings V8 to its end before it has registered anything.
let text = 'xx'
while (text.length <= 2 ** 27) text += text.length < 2 ** 27 ? text : 'xx'
;/x/g[Symbol.match](text)
