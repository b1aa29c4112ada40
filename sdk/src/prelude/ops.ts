/** Requests to the host: `op` asks, `settleOp` brings the answer, `dropOps` forgets those of a task that was ended. */
import { errorOf } from './error_text'
import { putForgotten, putOp } from './output'
import {
  captureStackTrace,
  createObject,
  isSafeInteger,
  jsonStringify,
  MapCtor,
  mapDelete,
  mapForEach,
  mapGet,
  mapSet,
  PromiseCtor,
  startsWith,
  toNumber,
  TypeErrorCtor,
} from './primordials'
import { limits, state, type Task } from './state'

interface PendingOp {
  readonly id: number
  /** KV and secrets: while one is pending nothing else of the guild moves, so that read, change, write is safe. */
  readonly gating: boolean
  readonly task: Task | null
  readonly resolve: (value: unknown) => void
  readonly reject: (reason: unknown) => void
  /** Where it was asked for; its `stack` is only rendered when the op fails. */
  readonly site: { stack?: string }
}

/** What the host says about a failed op. More members become properties of the Error. */
export interface OpFailure {
  message?: string
  code?: string
  discord_code?: number
  name?: string
}

const pending = new MapCtor<number, PendingOp>()
let lastId = 0
let pendingCount = 0
let gatingCount = 0
let refused = 0

export const pendingOps = (): number => pendingCount

/** How many were refused since this was asked last. */
export function takeOpsRefused(): number {
  const count = refused
  refused = 0
  return count
}
export const gateClosed = (): boolean => gatingCount > 0

/** Asks the host. Arguments are encoded now, so later changes to them do not count. Never throws: a bad argument rejects. */
export function op(name: string, args: readonly unknown[]): Promise<unknown> {
  return opFor(state.owner, name, args)
}

/** As `op`, on behalf of a known task. One that was ended gets a promise that never settles. */
export function opFor(task: Task | null, name: string, args: readonly unknown[]): Promise<unknown> {
  let resolve: ((value: unknown) => void) | undefined
  let reject: ((reason: unknown) => void) | undefined
  const promise = new PromiseCtor<unknown>((onValue, onError) => {
    resolve = onValue
    reject = onError
  })
  // At the end of the stack the function above could not be called: the promise is rejected already.
  if (resolve === undefined || reject === undefined) return promise
  if (task !== null && task.killed) return promise
  let text: string
  try {
    text = encodeArgs(args)
  } catch (error) {
    reject(error)
    return promise
  }
  const site = callSite()
  if (pendingCount >= limits.maxPendingOps) {
    refused++
    const message = pendingCount + ' operations of this guild wait for their answer already'
    reject(errorOf({ message, code: 'LIMIT_REACHED', limit: 'max_pending_ops' } as OpFailure, site))
    return promise
  }
  const gating = startsWith(name, 'op_kv_') || startsWith(name, 'op_secret_')
  const entry: PendingOp = { id: lastId + 1, gating, task, resolve, reject, site }
  mapSet(pending, entry.id, entry)
  // From here on nothing can throw: a stack overflow above leaves no trace of the op.
  lastId++
  pendingCount++
  if (gating) gatingCount++
  if (task !== null) task.ops++
  putOp(entry.id, name, text, task === null ? 0 : task.seq)
  return promise
}

/** An object whose `stack` says who asked. A script's `Error.prepareStackTrace` may throw while it is taken. */
function callSite(): { stack?: string } {
  const site = createObject(null) as { stack?: string }
  try {
    if (captureStackTrace !== undefined) captureStackTrace(site)
  } catch {
    // Then the error has no frames.
  }
  return site
}

export function isPending(id: number): boolean {
  return mapGet(pending, id) !== undefined
}

export function isGating(id: number): boolean {
  const entry = mapGet(pending, id)
  return entry !== undefined && entry.gating
}

export function taskOf(id: number): Task | null {
  const entry = mapGet(pending, id)
  return entry === undefined ? null : entry.task
}

/** Brings an answer. Unknown ids are those of tasks that were ended: ignored. */
export function settleOp(id: number, succeeded: boolean, value: unknown): void {
  const entry = mapGet(pending, id)
  if (entry === undefined) return
  forget(entry)
  if (succeeded) {
    entry.resolve(value)
  } else {
    entry.reject(errorOf(value as OpFailure | null, entry.site))
  }
}

/** Forgets what a task asked for: its promises never settle, its suspended code is garbage. */
export function dropOps(task: Task): void {
  mapForEach(pending, (entry) => {
    if (entry.task !== task) return
    forget(entry)
    putForgotten(entry.id)
  })
}

/** The number of the op asked for last. */
export const lastOp = (): number => lastId

/** Gives up one op: its promise never settles, and the host is told that it need not go on. */
export function abandonOp(id: number): void {
  const entry = mapGet(pending, id)
  if (entry === undefined) return
  forget(entry)
  putForgotten(id)
}

function forget(entry: PendingOp): void {
  mapDelete(pending, entry.id)
  pendingCount--
  if (entry.gating) gatingCount--
  if (entry.task !== null) entry.task.ops--
}

/** Each argument on its own, so that the outside is a list whatever a script did to `Array.prototype.toJSON`. */
function encodeArgs(args: readonly unknown[]): string {
  let text = ''
  for (let i = 0; i < args.length; i++) {
    if (i > 0) text += ','
    const encoded = encode(args[i])
    text += encoded === undefined ? 'null' : encoded
  }
  return text
}

function encode(value: unknown): string | undefined {
  // JSON.stringify asks String.prototype for nothing; only objects and BigInts are asked for toJSON.
  return typeof value === 'object' && value !== null ? encodeObject(value) : encodePrimitive(value)
}

function encodePrimitive(value: unknown): string | undefined {
  return typeof value === 'bigint' ? '' + bigintToNumber(value) : jsonStringify(value)
}

/** BigInts are accepted where a number is meant; without one the plain encoder is several times faster. */
function encodeObject(value: object): string | undefined {
  try {
    return jsonStringify(value)
  } catch (error) {
    let met = false
    const text = tryEncode(value, () => (met = true))
    if (!met || text === undefined) throw error
    return text
  }
}

function tryEncode(value: object, onBigint: () => void): string | undefined {
  return jsonStringify(value, (_key, item: unknown) => {
    if (typeof item !== 'bigint') return item
    onBigint()
    return bigintToNumber(item)
  })
}

function bigintToNumber(value: bigint): number {
  const number = toNumber(value)
  if (!isSafeInteger(number)) throw new TypeErrorCtor('BigInt out of range: pass ids as strings')
  return number
}
