// What the declarations promise is there, and what is there is declared.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { Isolate } from './isolate.mjs'

const read = (name) => readFileSync(new URL(`../types/${name}`, import.meta.url), 'utf8')
const all = read('flora.d.ts') + read('web.d.ts') + read('builders.d.ts')
const declared = [...all.matchAll(/^declare (?:abstract )?(?:function|const|var|class) (\w+)/gm)].map(
  (match) => match[1],
)

test('GIVEN every declared global WHEN looked up in an isolate THEN it is there', () => {
  const isolate = new Isolate()
  for (const name of new Set(declared)) assert.equal(isolate.run(`typeof ${name} !== 'undefined'`), true, name)
})

test('GIVEN every member of flora WHEN looked up THEN it is declared and global', () => {
  const isolate = new Isolate()
  for (const name of isolate.run('Object.keys(flora)')) {
    assert.ok(declared.includes(name), name)
    assert.equal(isolate.run(`flora.${name} === ${name}`), true)
  }
})

test('GIVEN every @example WHEN read THEN it is one of those the type tests compile', () => {
  const examples = [...all.matchAll(/@example\n((?: \* .*\n)+?) \*\//g)].map((match) => match[1].replace(/^ \* /gm, ''))
  const compiled = read('test/examples.ts')
  assert.ok(examples.length >= 3)
  for (const example of examples) assert.ok(compiled.includes(example.trimEnd()), example)
})
