/**
 * The flight recorder: seven numbers in memory that the host maps from a file, so they outlive an abort of the process.
 *
 * [0] seq of the event started last  [1] events started so far  [2] when it started, ms  [3] seq finished last
 * [4] seq on whose behalf code runs, 0 for the load and for nobody  [5] turns so far
 * [6] run of a cron job started last: such runs have negative seqs, this is the highest of them without its sign
 */
import { state, type Task } from './state'
import { dateNow } from './primordials'

export const PROGRESS_BYTES = 8192
export const progress = new ArrayBuffer(PROGRESS_BYTES)

let cells = new Float64Array(progress, 0, 7)

export function setProgressOffset(bytes: number): void {
  cells = new Float64Array(progress, bytes, 7)
}

/** Marks the start of an event, which is also a turn of its own. The seq goes last: who reads a new one finds the rest there. */
export function recordStart(task: Task): void {
  const now = dateNow()
  task.startedAtMs = now
  cells[2] = now
  cells[1] = (cells[1] as number) + 1
  recordOwner(task)
  if (task.seq < 0) cells[6] = -task.seq
  else cells[0] = task.seq
}

export function recordFinish(task: Task): void {
  cells[3] = task.seq
}

/** A turn begins, on behalf of a task or of nobody in particular. */
export function recordOwner(task: Task | null): void {
  state.owner = task
  cells[4] = task === null ? 0 : task.seq
  cells[5] = (cells[5] as number) + 1
}

/** The microtasks of the last turn have run. */
export function clearOwner(): void {
  state.owner = null
  cells[4] = 0
}
