// Builds dist/: prelude.js and sdk.js for the engine, their source maps beside them, the starter bot's sources, the type
// declarations and the TypeScript compiler that the compiler actor loads into its isolate.
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('.', import.meta.url))
const dist = join(root, 'dist')

const common = {
  absWorkingDir: root,
  bundle: true,
  charset: 'utf8',
  format: 'iife',
  // Names stay readable in stack traces; white space and comments only cost memory in every guild.
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: 'none',
  sourcemap: 'external',
  target: 'es2022',
}

// The wrapper function keeps everything local and makes the host object the completion value of the script.
await bundle('prelude', 'flora:runtime_prelude.js', 'flora_prelude', 'return flora_prelude.host;})()')
await bundle('sdk', 'flora:runtime_sdk_bundle.js', 'flora_sdk', '})()')
await starter()
await cp(join(root, 'types', 'flora.d.ts'), join(dist, 'flora.d.ts'))
await cp(join(root, 'node_modules', 'typescript', 'lib', 'typescript.js'), join(dist, 'typescript.js'))

async function bundle(name, sourceUrl, globalName, footer) {
  await mkdir(dist, { recursive: true })
  await build({
    ...common,
    entryPoints: [join('src', name, 'main.ts')],
    outfile: join(dist, `${name}.js`),
    globalName,
    banner: { js: '(function(){"use strict";' },
    footer: { js: `${footer}\n//# sourceURL=${sourceUrl}` },
  })
}

async function starter() {
  const base = join(root, 'starter')
  const files = []
  for (const entry of (await readdir(join(base, 'src'), { recursive: true })).sort()) {
    if (!entry.endsWith('.ts')) continue
    const path = join(base, 'src', entry)
    files.push({ path: relative(base, path).replaceAll('\\', '/'), contents: await readFile(path, 'utf8') })
  }
  await writeFile(join(dist, 'starter.json'), JSON.stringify({ entry: 'src/main.ts', files }, null, 2) + '\n')
}
