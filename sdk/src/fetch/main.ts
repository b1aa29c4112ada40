/**
 * `fetch` and what belongs to it, as globals. The host runs this file between prelude and SDK, and only for scripts in whose text one
 * of these names occurs: the others would pay 6 % more memory and boot time for nothing.
 */
import { Blob, File } from './blob'
import { fetch } from './fetch'
import { FormData } from './form_data'
import { Headers } from './headers'
import { Request } from './request'
import { Response } from './response'

const GLOBALS = { Blob, File, FormData, Headers, Request, Response, fetch }

for (const [name, value] of Object.entries(GLOBALS)) {
  // The bundler may have renamed a class that mentions itself.
  Object.defineProperty(value, 'name', { value: name, configurable: true })
  Object.defineProperty(globalThis, name, { value, writable: true, enumerable: false, configurable: true })
}
