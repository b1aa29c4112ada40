// Builds dist/: prelude.js, fetch.js and sdk.js for the engine, their source maps beside them, the starter bot's sources, the type
// declarations and the TypeScript compiler that the compiler actor loads into its isolate.
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('.', import.meta.url))
const dist = join(root, 'dist')

const common = {
  absWorkingDir: root,
  bundle: true,
  // One character outside Latin-1 would make V8 keep the whole source in two bytes per character, in every guild.
  charset: 'ascii',
  format: 'iife',
  // Names stay readable in stack traces; white space and comments only cost memory in every guild.
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: 'none',
  sourcemap: 'external',
  target: 'es2022',
}

await mkdir(dist, { recursive: true })
// The wrapper function keeps everything local and makes the host object the completion value of the script.
await bundle('prelude', 'flora:runtime_prelude.js', 'flora_prelude', 'return flora_prelude.host;})()')
await bundle('fetch', 'flora:runtime_fetch.js', 'flora_fetch', '})()')
await bundle('sdk', 'flora:runtime_sdk_bundle.js', 'flora_sdk', '})()')
await put('starter.json', JSON.stringify(await starter(), null, 2) + '\n')
for (const name of ['flora.d.ts', 'web.d.ts', 'builders.d.ts'])
  await put(name, await readFile(join(root, 'types', name)))
await put('typescript.js', await readFile(join(root, 'node_modules', 'typescript', 'lib', 'typescript.js')))

async function bundle(name, sourceUrl, globalName, footer) {
  const { outputFiles } = await build({
    ...common,
    entryPoints: [join('src', name, 'main.ts')],
    outfile: join(dist, `${name}.js`),
    globalName,
    banner: { js: '(function(){"use strict";' },
    footer: { js: `${footer}\n//# sourceURL=${sourceUrl}` },
    write: false,
  })
  for (const { path, contents } of outputFiles) await put(relative(dist, path), contents)
}

async function starter() {
  const base = join(root, 'starter')
  const names = (await readdir(join(base, 'src'), { recursive: true })).filter((name) => name.endsWith('.ts')).sort()
  const read = async (name) => ({
    path: `src/${name.replaceAll('\\', '/')}`,
    contents: await readFile(join(base, 'src', name), 'utf8'),
  })
  return { entry: 'src/main.ts', files: await Promise.all(names.map(read)) }
}

/** Whole or not at all: a host may be starting isolates from the old file. */
async function put(name, contents) {
  const path = join(dist, name)
  const draft = `${path}.${process.pid}.tmp`
  await writeFile(draft, contents)
  await rename(draft, path)
}
