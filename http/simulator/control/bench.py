"""Control routes for benchmarks and fault tests: bursts, statistics, broken sessions, rate limits on and off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiohttp import web

from flora.http.simulator import errors
from flora.http.simulator.control.base import body_of, reply, sim_of
from flora.http.simulator.errors import JsonObject
from flora.http.simulator.model import Channel
from flora.http.simulator.simulator import Simulator

MAX_BURST = 5_000_000
BACKLOG_BYTES = 1024 * 1024  # a burst waits while a client has this much to take: more would only measure memory
_BATCH = 64
_POLL_S = 0.0005


def add_routes(app: web.Application) -> None:
    """Adds this module's routes."""
    app.router.add_post("/sim/burst", burst)
    app.router.add_get("/sim/stats", stats)
    app.router.add_delete("/sim/stats", reset_stats)
    app.router.add_post("/sim/sessions/disconnect", disconnect)
    app.router.add_post("/sim/settings", settings)


async def burst(request: web.Request) -> web.Response:
    """`{channels?: [id], count, rate?, content?, final_content?, wait_replies_s?}`: posts messages in turn.

    `rate` is in messages per second; without it as fast as the slowest client takes them. With `final_content` one
    more message with that content follows in each channel; a bot that answers only those shows when it is through.
    Answers when done, and with `wait_replies_s` when also every message (or with `final_content` every last one) was
    replied to, or that time is over. `{i}` in the content becomes the message's number.
    """
    sim, body = sim_of(request), await body_of(request)
    channels = [sim.world.channel(str(c)) for c in body.get("channels") or list(sim.world.channels)]
    count = int(body.get("count") or 0)
    if not channels or not 0 <= count <= MAX_BURST:
        raise errors.invalid_form(("count",), "NUMBER_TYPE_MAX", f"Must be between 0 and {MAX_BURST}.")
    content = str(body.get("content") or "!ping")
    final = body.get("final_content")
    replies_before = sim.stats.replies
    started = time.perf_counter()
    push = _pusher(sim, channels, content, counted=final is None)
    if body.get("rate"):
        await _paced(sim, count, float(body["rate"]), push)
    else:
        await _flat_out(sim, count, push)
    expected = count
    if final is not None:
        expected = len(channels)
        for number, channel in enumerate(channels):
            _pusher(sim, [channel], str(final), counted=True)(number)
    pushed_s = time.perf_counter() - started
    answer: JsonObject = {
        "pushed": count, "elapsed_s": round(pushed_s, 6), "per_s": round(count / pushed_s, 1) if count else 0.0
    }  # fmt: skip
    wait_s = float(body.get("wait_replies_s") or 0)
    if wait_s > 0:
        answer |= await _replies(sim, replies_before, expected, started, wait_s)
    return reply(answer)


def _pusher(sim: Simulator, channels: list[Channel], content: str, *, counted: bool) -> Callable[[int], None]:
    """What posts message number i of a burst."""
    authors = [sim.world.users[sim.world.guilds[c.guild_id].owner_id] for c in channels]
    numbered = "{i}" in content
    post, pushed = sim.posting.post, sim.stats.pushed

    def push(number: int) -> None:
        at = number % len(channels)
        text = content.replace("{i}", str(number)) if numbered else content
        message = post(channels[at], authors[at], {"content": text})
        if counted:
            pushed(message["id"])

    return push


async def _clients_keep_up(sim: Simulator) -> None:
    while any(connection.backlog_bytes() > BACKLOG_BYTES for connection in sim.connections()):  # noqa: ASYNC110 - no event
        await asyncio.sleep(_POLL_S)


async def _flat_out(sim: Simulator, count: int, push: Callable[[int], None]) -> None:
    for first in range(0, count, _BATCH):
        for number in range(first, min(first + _BATCH, count)):
            push(number)
        await asyncio.sleep(0)
        await _clients_keep_up(sim)
    await asyncio.sleep(0)


async def _paced(sim: Simulator, count: int, rate: float, push: Callable[[int], None]) -> None:
    """Posts at a steady rate; after a hold-up it catches up, so that the average stays."""
    started = time.perf_counter()
    for number in range(count):
        ahead_s = started + number / rate - time.perf_counter()
        if ahead_s > 0:
            await asyncio.sleep(ahead_s)
        push(number)


async def _replies(sim: Simulator, before: int, expected: int, started: float, wait_s: float) -> JsonObject:
    deadline = time.perf_counter() + wait_s
    while sim.stats.replies - before < expected and time.perf_counter() < deadline:  # noqa: ASYNC110 - hot path stays free of events
        await asyncio.sleep(0.002)
    got = sim.stats.replies - before
    elapsed_s = sim.stats.last_reply_at - started if got else 0.0
    return {
        "replies": got,
        "replies_elapsed_s": round(elapsed_s, 6),
        "replies_per_s": round(got / elapsed_s, 1) if elapsed_s > 0 else 0.0,
        "complete": got >= expected,
        "reply_latency_ms": sim.stats.latency(),
    }


async def stats(request: web.Request) -> web.Response:
    sim = sim_of(request)
    sessions = sim.hub.summary()
    counted = {"pushed": sim.hub.pushed, "guilds": len(sim.world.guilds), "sessions": sessions}
    return reply(counted | sim.stats.summary())


async def reset_stats(request: web.Request) -> web.Response:
    sim = sim_of(request)
    sim.stats.reset()
    sim.hub.pushed = 0
    return web.Response(status=204)


async def disconnect(request: web.Request) -> web.Response:
    """`{mode}`: `resume` (op 7), `invalid` (op 9, new session needed), `invalid_resumable` (op 9, may resume),
    `abort` (cut without a word), `freeze` (silent from now on: no events, no heartbeat acks) or a close code."""
    sim, body = sim_of(request), await body_of(request)
    mode = body.get("mode", "resume")
    hit = sim.connections()
    for session in sim.hub.connected() if mode == "freeze" else ():
        session.frozen = True
    for connection in hit:
        if isinstance(mode, int):
            connection.close(mode, "closed by the control API")
        elif mode == "resume":
            connection.ask_to_reconnect()
        elif mode in ("invalid", "invalid_resumable"):
            connection.invalidate(resumable=mode == "invalid_resumable")
        elif mode == "abort":
            connection.abort()
        elif mode != "freeze":
            raise errors.invalid_form(("mode",), "BASE_TYPE_CHOICES", "Unknown mode.")
    return reply({"sessions": len(hit)})


async def settings(request: web.Request) -> web.Response:
    """`{rate_limits?: bool}` changes what is given and tells the rest."""
    sim, body = sim_of(request), await body_of(request)
    if "rate_limits" in body:
        sim.rate_limits_on = bool(body["rate_limits"])
        sim.limits.clear()
    return reply({"rate_limits": sim.rate_limits_on})
