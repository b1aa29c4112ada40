/** The mutable heart of the prelude: which events are queued, running and waiting, and on whose behalf code runs now. */

/** One event on its way through its handlers. The load of the script is a task too, with `seq` 0. */
export class Task {
  /** Next in the queue of tasks not yet started. */
  next: Task | null = null
  startedAtMs = 0
  /** Ops it has asked for and not got. */
  ops = 0
  /** Its dispatch promise has settled; a draining task may still wait for `ops`. */
  settled = false
  /** Nothing more will be reported about it. */
  finished = false
  /** Ended by the host: it must not act any more. */
  killed = false
  /** What stopped it, already as text; null for none. */
  failure: string | null = null

  constructor(
    /** The host's number for it. */
    readonly seq: number,
    readonly event: string,
    readonly payload: unknown,
    /** Completes when its own work is idle, not when its promise settles: cron runs and the load. */
    readonly drains: boolean,
  ) {}
}

export interface State {
  guildId: string | null
  /** How many events may be started and unfinished at the same time. */
  overlap: number
  /** What the host allows; a script may lower `overlap` below it. */
  overlapLimit: number
  /** The task on whose behalf the current turn runs. */
  owner: Task | null
  /** The task started last. */
  current: Task | null
  /** Started and not finished. A plain counter beside the set in `tasks.ts`. */
  started: number
  queued: number
  /** Host's wall clock minus ours, in ms, as of the last `dispatch`. */
  clockOffsetMs: number
  /** Host's wall clock at the last `dispatch`: what counts as due does not move within one wake-up. */
  wokenAtMs: number
  loading: boolean
}

export const state: State = {
  guildId: null,
  overlap: 16,
  overlapLimit: 16,
  owner: null,
  current: null,
  started: 0,
  queued: 0,
  clockOffsetMs: 0,
  wokenAtMs: 0,
  loading: false,
}

/** Limits the host sets at boot; unknown names are ignored, missing ones keep the value here. */
export const limits = {
  maxCronJobs: 32,
  /** Timers that may be pending. */
  maxTimers: 1000,
  /** Operations that may wait for their answer. */
  maxPendingOps: 1000,
  /** Characters of one console line. */
  maxLogChars: 8192,
  /** Console lines between two calls of `take`. */
  maxLogLines: 1000,
  /** Characters of one error text. */
  maxErrorChars: 16384,
  /** Bytes of typed arrays and buffers, which V8's heap limit does not see. */
  maxBufferBytes: 64 * 1024 * 1024,
  /** V8's heap limit. Nothing is enforced with it but lengths that could never fit. */
  maxHeapBytes: 64 * 1024 * 1024,
}
