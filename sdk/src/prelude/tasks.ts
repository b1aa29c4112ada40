/**
 * Turns: the unit in which an isolate moves.
 *
 * The host's call is followed by V8 running all microtasks, so code that was set going runs to its next real wait before the
 * host can call again. A turn sets one thing going: the answers one task waited for, one timer, or the next event. What runs
 * until the next call runs on behalf of that task (`state.owner`), which is how ops and timers find their task without help
 * from the engine, and how a task can be ended without the others.
 *
 * Order of turns: answers of gating ops; while one is still out, nothing else; other answers; due timers; new events.
 */
import { log } from './console'
import { describeThrown } from './error_text'
import { dispatch as ownDispatch, runHandlers } from './handlers'
import { dropOps, gateClosed, isGating, isPending, pendingOps, settleOp, taskOf } from './ops'
import { forgetLastHeld } from './memory'
import { putDone, type Outcome } from './output'
import { dateNow, MapCtor, mapDelete, mapForEach, mapSet, mathMax } from './primordials'
import { clearOwner, recordFinish, recordOwner, recordStart } from './progress'
import { state, Task } from './state'
import { dropTimers, fireNextTimer, timerCount, timerIsDue } from './timers'

/** An answer that has arrived and not been delivered. */
interface Answer {
  readonly id: number
  readonly succeeded: boolean
  readonly value: unknown
  readonly task: Task | null
  next: Answer | null
}

interface AnswerQueue {
  first: Answer | null
  last: Answer | null
}

type Dispatcher = (event: string, payload: unknown) => unknown

const gatingAnswers: AnswerQueue = { first: null, last: null }
const otherAnswers: AnswerQueue = { first: null, last: null }
const startedTasks = new MapCtor<number, Task>()

let firstQueued: Task | null = null
let lastQueued: Task | null = null
let loadTask: Task | null = null
let tracked = 0
let starting = false
/** Null while the script has not brought its own. */
let customDispatch: Dispatcher | null = null

export function setDispatch(found: Dispatcher): boolean {
  customDispatch = found === ownDispatch ? null : found
  return customDispatch !== null
}

export function enqueue(task: Task): void {
  if (lastQueued === null) firstQueued = task
  else lastQueued.next = task
  lastQueued = task
  state.queued++
}

/** Answers to ops of tasks that were ended are dropped here. */
export function queueAnswer(id: number, succeeded: boolean, value: unknown): void {
  if (!isPending(id)) return
  const answer: Answer = { id, succeeded, value, task: taskOf(id), next: null }
  const queue = isGating(id) ? gatingAnswers : otherAnswers
  if (queue.last === null) queue.first = answer
  else queue.last.next = answer
  queue.last = answer
}

/** Ends a started task: nothing is reported about it, what it waits for never comes. */
export function kill(seq: number): void {
  mapForEach(startedTasks, (task) => {
    if (task.seq !== seq) return
    task.killed = true
    leave(task)
    dropOps(task)
    dropTimers(task)
  })
}

/** Forgets a task that has not been started. */
export function drop(seq: number): void {
  let before: Task | null = null
  for (let task = firstQueued; task !== null; task = task.next) {
    if (task.seq === seq) {
      if (before === null) firstQueued = task.next
      else before.next = task.next
      if (task === lastQueued) lastQueued = before
      state.queued--
      return
    }
    before = task
  }
}

/** Called first in every host call: what a cancelled run left standing is put right. */
export function beginCall(): void {
  starting = false
  forgetLastHeld()
  clearOwner()
}

let timerHadTheLastTurn = false

/**
 * Sets one thing going. False when there was nothing to do or nothing may move. Timers that are always due share with events, turn
 * about: a script that floods itself with timers still hears its guild.
 */
export function runTurn(): boolean {
  if (gatingAnswers.first !== null) return deliver(gatingAnswers)
  if (gateClosed()) return false
  if (otherAnswers.first !== null) return deliver(otherAnswers)
  if (timerIsDue() && !(timerHadTheLastTurn && couldStart())) {
    timerHadTheLastTurn = true
    fireNextTimer(recordOwner)
    return true
  }
  const first = timerHadTheLastTurn
  timerHadTheLastTurn = false
  return startQueued(first)
}

/** Delivers the first answer and those of the same task right behind it. */
function deliver(queue: AnswerQueue): boolean {
  const task = (queue.first as Answer).task
  recordOwner(task)
  while (queue.first !== null && queue.first.task === task) {
    const answer: Answer = queue.first
    queue.first = answer.next
    if (queue.first === null) queue.last = null
    settleOp(answer.id, answer.succeeded, answer.value)
  }
  return true
}

function mayStart(): boolean {
  return couldStart() && !timerIsDue()
}

/** Whether an event may start but for due timers. */
function couldStart(): boolean {
  return (
    firstQueued !== null &&
    state.started < state.overlap &&
    loadTask === null &&
    !gateClosed() &&
    gatingAnswers.first === null &&
    otherAnswers.first === null
  )
}

/**
 * Starts events as long as each ends on the spot. One that waits ends the turn: only after its microtasks have run is it known
 * what it waits for. A loop rather than recursion, since a handler without `await` finishes inside `start`.
 */
function startQueued(beforeTimers = false): boolean {
  if (starting) return false
  starting = true
  let any = false
  while (beforeTimers && !any ? couldStart() : mayStart()) {
    const task = firstQueued as Task
    firstQueued = task.next
    if (firstQueued === null) lastQueued = null
    task.next = null
    state.queued--
    start(task)
    any = true
    if (!task.finished) break
  }
  starting = false
  return any
}

function start(task: Task): void {
  mapSet(startedTasks, task.seq, task)
  state.started++
  state.current = task
  recordStart(task)
  if (customDispatch === null) void runHandlers(task.event, task.payload, task, task, onHandlersEnd)
  else void driveCustom(task, customDispatch)
}

function onHandlersEnd(task: Task, failed: boolean, error: unknown): void {
  if (failed) settle(task, 'threw', describeThrown(error))
  else settle(task, 'ok', null)
}

async function driveCustom(task: Task, dispatcher: Dispatcher): Promise<void> {
  let result: unknown
  try {
    result = dispatcher(task.event, task.payload)
    if (!isThenable(result)) {
      settle(task, 'nonpromise', task.drains ? 'Dispatch did not return a promise' : null)
      return
    }
    await result
  } catch (error) {
    settle(task, 'threw', describeThrown(error))
    return
  }
  settle(task, 'ok', null)
}

function isThenable(value: unknown): boolean {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
}

/** The dispatch promise of a task has settled. A draining task is done when its own ops are too; `settleIdle` sees to it. */
function settle(task: Task, outcome: Outcome, text: string | null): void {
  if (task.finished) return
  task.settled = true
  if (task.drains && outcome === 'ok') return
  finish(task, outcome, text)
  if (task === state.current) startQueued()
}

function finish(task: Task, outcome: Outcome, text: string | null): void {
  leave(task)
  recordFinish(task)
  putDone(task.seq, outcome, text, mathMax(0, dateNow() - task.startedAtMs) * 1000)
}

function leave(task: Task): void {
  task.finished = true
  state.started--
  mapDelete(startedTasks, task.seq)
  if (task === loadTask) {
    loadTask = null
    state.loading = false
  }
}

/** Runs the script's top level as task 0. */
export function startLoad(main: () => unknown): void {
  const task = new Task(0, 'load', null, true)
  loadTask = task
  state.loading = true
  tracked = 0
  mapSet(startedTasks, 0, task)
  state.started++
  state.current = task
  recordStart(task)
  void driveLoad(task, main)
}

async function driveLoad(task: Task, main: () => unknown): Promise<void> {
  try {
    await main()
  } catch (error) {
    settle(task, 'threw', describeThrown(error))
    return
  }
  settle(task, 'ok', null)
}

/** A promise of the SDK's own that the load has to wait for; its rejection fails the load. */
export async function track(promise: Promise<unknown>): Promise<void> {
  const load = loadTask
  if (load !== null) tracked++
  try {
    await promise
    if (load !== null) tracked--
  } catch (error) {
    if (load !== null && !load.finished) finish(load, 'threw', describeThrown(error))
    else log('error', [describeThrown(error)])
  }
}

/**
 * The microtasks have run and no turn is left: completes draining tasks whose work is over and, when nothing is out that could
 * wake anybody, those that wait for nothing. True when that made room for a queued event.
 */
export function settleIdle(): boolean {
  const nothingOut = pendingOps() === 0 && timerCount() === 0
  mapForEach(startedTasks, (task) => {
    if (task.settled && isDrained(task)) finish(task, 'ok', null)
    else if (nothingOut) finishStuck(task)
  })
  return mayStart() && startQueued()
}

function isDrained(task: Task): boolean {
  if (task !== loadTask) return task.ops === 0
  return pendingOps() === 0 && tracked === 0
}

function finishStuck(task: Task): void {
  // A cron run that is left hanging when the isolate is idle counts as a success.
  if (task.drains && task !== loadTask) finish(task, 'ok', null)
  else finish(task, 'never', STUCK)
}

const STUCK = 'Promise resolution is still pending but the event loop has already resolved'
