/** What `2d6` gives: one number per die, or null when the text is no roll. */
export function roll(text: string): number[] | null {
  const match = /^(\d{1,2})d(\d{1,3})$/.exec(text)
  if (match === null) return null
  const [count, sides] = [Number(match[1]), Number(match[2])]
  if (count === 0 || sides === 0) return null
  return Array.from({ length: count }, () => 1 + Math.floor(Math.random() * sides))
}
