/** `performance.now()` and `timeOrigin`. The clock has a resolution of one millisecond and never goes back. */
import { now } from '../clock'

const timeOrigin = now()
let latest = 0

export const performance = {
  timeOrigin,
  now(): number {
    latest = Math.max(latest, now() - timeOrigin)
    return latest
  },
}
