import { dateNow } from './primordials'
import { state } from './state'

/** The host's wall clock now, ms since the epoch: our clock shifted by what the last call taught us. */
export function now(): number {
  return dateNow() + state.clockOffsetMs
}
