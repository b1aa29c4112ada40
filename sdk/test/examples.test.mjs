// The starter bot and every example, bundled and run.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import { Isolate } from './isolate.mjs'

const path = (relative) => fileURLToPath(new URL(`../${relative}`, import.meta.url))

function start(folder) {
  const { outputFiles } = buildSync({
    entryPoints: [path(`${folder}/src/main.ts`)],
    bundle: true,
    format: 'esm',
    target: 'es2022',
    write: false,
  })
  const isolate = new Isolate()
  let output = isolate.load(outputFiles[0].text)
  for (const [id] of output.o) output = isolate.answer([id, true, null])
  assert.equal(output.d[0]?.[1], 'ok', output.d[0]?.[2])
  isolate.send({ c: [['extract']] })
  return isolate
}

const message = (content) => ({
  id: '1',
  channelId: '2',
  guildId: '42',
  content,
  author: { id: '3', username: 'ann', bot: false },
})
const reply = (isolate, event, payload) => isolate.event(event, payload).o.at(-1)
const interaction = {
  interactionId: '7',
  interactionToken: 't',
  channelId: '2',
  guildId: '42',
  user: { id: '3', username: 'ann' },
}

test('GIVEN the folder of examples WHEN listed THEN each has a test here', () => {
  assert.deepEqual(readdirSync(path('examples')).sort(), ['dice', 'hello', 'poll', 'wiki'])
})

test('GIVEN the starter bot WHEN used THEN it answers !ping, /hello and /counter', () => {
  const isolate = start('starter')
  assert.equal(reply(isolate, 'messageCreate', message('!ping'))[2][0].content, 'Pong!')
  const hello = (options) =>
    reply(isolate, 'interactionCreate', { ...interaction, commandName: 'hello', data: { options } })[2][0].content
  assert.equal(hello([]), 'Hello, ann!')
  assert.equal(hello([{ name: 'name', type: 3, value: 'Bob' }]), 'Hello, Bob!')
  const counts = reply(isolate, 'interactionCreate', { ...interaction, commandName: 'counter', data: { options: [] } })
  assert.deepEqual(counts.slice(1), ['op_kv_increment', ['counter', 'count', 1, null]])
  assert.equal(isolate.answer([counts[0], true, '3']).o.at(-1)[2][0].content, 'Counter: 3')
})

test('GIVEN starter.json WHEN read THEN it holds the sources the compiler needs', () => {
  const { entry, files } = JSON.parse(readFileSync(path('dist/starter.json'), 'utf8'))
  assert.equal(entry, 'src/main.ts')
  assert.deepEqual(files, [{ path: 'src/main.ts', contents: readFileSync(path('starter/src/main.ts'), 'utf8') }])
})

test('GIVEN hello WHEN a message comes THEN it is answered', () => {
  assert.equal(reply(start('examples/hello'), 'messageCreate', message('hi'))[2][0].content, 'Hello!')
})

test('GIVEN dice WHEN rolled THEN the answer has as many numbers as dice', () => {
  const isolate = start('examples/dice')
  assert.match(reply(isolate, 'messageCreate', message('!roll 3d6'))[2][0].content, /^3d6: [1-6] \+ [1-6] \+ [1-6]$/)
  assert.match(reply(isolate, 'messageCreate', message('!roll x'))[2][0].content, /cannot roll x/)
})

test('GIVEN poll WHEN asked and voted THEN votes are counted once per user', () => {
  const isolate = start('examples/poll')
  const asked = reply(isolate, 'interactionCreate', {
    ...interaction,
    commandName: 'poll',
    data: { options: [{ name: 'question', type: 3, value: 'Tea?' }] },
  })[2][0]
  assert.equal(asked.content, 'Tea?\nYes 0, no 0')
  const vote = (index, user) => {
    const { custom_id } = asked.components[0].components[index]
    return reply(isolate, 'componentInteraction', {
      ...interaction,
      user: { id: user },
      messageId: '9',
      data: { custom_id, component_type: 2, values: null },
    })[2][0].content
  }
  assert.equal(vote(0, 'a'), 'Tea?\nYes 1, no 0')
  assert.equal(vote(1, 'b'), 'Tea?\nYes 1, no 1')
  assert.equal(vote(1, 'a'), 'Tea?\nYes 0, no 2')
})

test('GIVEN wiki WHEN asked THEN the answer is an article, or says why there is none', () => {
  const ask = (answer) => {
    const isolate = start('examples/wiki')
    const data = { options: [{ name: 'topic', type: 3, value: 'Flora of Malta' }] }
    const asked = reply(isolate, 'interactionCreate', { ...interaction, commandName: 'wiki', data })
    assert.deepEqual([asked[1], asked[2][0].url.slice(-14)], ['op_fetch', 'Flora_of_Malta'])
    return isolate.answer([asked[0], ...answer]).o.at(-1)[2][0]
  }
  const found = (status, value) => [
    true,
    { url: '', status, statusText: '', headers: [], redirected: false, text: JSON.stringify(value) },
  ]
  const article = { title: 'Flora', extract: 'Plants.', content_urls: { desktop: { page: 'https://en.wikipedia.org/wiki/Flora' } } }
  const { title, description } = ask(found(200, article)).embeds[0]
  assert.deepEqual([title, description], ['Flora', 'Plants.'])
  assert.equal(ask(found(404, {})).content, 'Nothing about Flora of Malta.')
  assert.match(ask([false, { name: 'TypeError', code: 'FETCH_TIMEOUT', message: 'fetch failed: slow' }]).content, /too long/)
})
