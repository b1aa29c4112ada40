/**
 * The account of memory that V8's heap limit does not see: typed arrays and buffers.
 *
 * What is allocated counts at once, what is dropped counts until V8 has collected it and said so, which it does between turns only.
 * So the garbage of one turn counts until that turn is over; the host collects when the account, which `take` reports, runs high.
 */
import { FinalizationRegistryCtor, numberToFixed, RangeErrorCtor, uncurryThis } from './primordials'
import { limits } from './state'

/** What V8 and malloc keep beside the bytes of each buffer (measured: 170 to 240). */
const OVERHEAD_BYTES = 192
/** Changes smaller than this are not worth a word to the host. */
const REPORT_STEP_BYTES = 64 * 1024
const MEGABYTE = 1024 * 1024

let heldBytes = 0
let reportedBytes = 0
let lastHeld: object | null = null

const registry = new FinalizationRegistryCtor<number>((bytes) => {
  heldBytes -= bytes
})
const register = uncurryThis(registry.register) as (self: object, target: object, bytes: number) => void

/** Throws when so many more bytes would pass the limit. */
export function demandRoom(bytes: number): void {
  if (heldBytes + bytes > limits.maxBufferBytes) throw new RangeErrorCtor(refusal(bytes))
}

function refusal(bytes: number): string {
  return (
    'out of buffer memory: ' +
    megabytes(bytes) +
    ' asked for, ' +
    megabytes(heldBytes) +
    ' in use, the limit is ' +
    megabytes(limits.maxBufferBytes) +
    ' of typed arrays and buffers (what was dropped in this turn counts until it ends)'
  )
}

function megabytes(bytes: number): string {
  return numberToFixed(bytes / MEGABYTE, bytes % MEGABYTE === 0 ? 0 : 1) + ' MB'
}

/** Counts a buffer for as long as it lives. */
export function hold(buffer: object, bytes: number): void {
  const size = bytes + OVERHEAD_BYTES
  register(registry, buffer, size)
  heldBytes += size
  lastHeld = buffer
}

/** Whether this is the buffer counted last. */
export function isHeldLast(buffer: object): boolean {
  return buffer === lastHeld
}

/** A turn is over: nothing here may keep a buffer alive. */
export function forgetLastHeld(): void {
  lastHeld = null
}

/** Bytes in use, when that changed noticeably since the last call; else null. */
export function changedBufferBytes(): number | null {
  const change = heldBytes - reportedBytes
  if (change < REPORT_STEP_BYTES && change > -REPORT_STEP_BYTES && (heldBytes !== 0 || change === 0)) return null
  reportedBytes = heldBytes
  return heldBytes
}
