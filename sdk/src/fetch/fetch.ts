/** `fetch`: a request to the host, an answer that is there as a whole. */
import { takeContent } from './body'
import { toBase64 } from './bytes'
import { Request, type RequestInit } from './request'
import { type Reply, received, type Response } from './response'
import { abandonOp, type AbortSignal, lastOp, op, type URL } from './shared'

export async function fetch(input: string | URL | Request, init?: RequestInit): Promise<Response> {
  const request = new Request(input, init)
  request.signal.throwIfAborted()
  const content = takeContent(request)
  const { url, method, redirect, signal } = request
  const body = content === null ? {} : typeof content === 'string' ? { text: content } : { base64: toBase64(content) }
  const before = lastOp()
  const answer = op('op_fetch', [{ url, method, redirect, headers: [...request.headers], ...body }])
  const id = lastOp()
  const reply = await (id === before ? answer : untilAborted(answer, id, signal))
  return received(reply as Reply)
}

function untilAborted(answer: Promise<unknown>, id: number, signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      abandonOp(id)
      reject(signal.reason)
    }
    const settled = (settle: (value: unknown) => void) => (value: unknown) => {
      signal.removeEventListener('abort', stop)
      settle(value)
    }
    signal.addEventListener('abort', stop, { once: true })
    void answer.then(settled(resolve), settled(reject))
  })
}
