/** The host's seed for `crypto`, kept apart so that boot does not load the generator. */
export const entropy = { hex: '' }
