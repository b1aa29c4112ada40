"""`/api/cron`: a guild's scheduled jobs, and running one of them now. A job's name is one segment of the path, percent-encoded."""

from __future__ import annotations

from aiohttp import web

from flora.http.deps import DEPS, TRACE
from flora.http.render import json_response
from flora.http.routes.kv import segment_of
from flora.http.routing import Access, Route, guild_id_of
from flora.messages.cron import ListCronJobs, RunCronJob
from flora.messages.ids import ReqId

RUN_LIMIT_S = 3600.0  # the router's is shorter where runs have a limit
_JOB_AT = 4  # /api/cron/{guild_id}/{job}/run


async def list_jobs(request: web.Request) -> web.Response:
    """Jobs in order of registration: expression, next times, the last run, what was skipped and missed. Shape: `ListCronJobs`."""
    deps = request.app[DEPS]
    message = ListCronJobs(req_id=ReqId(""), trace=request[TRACE], guild_id=guild_id_of(request))
    return json_response(await deps.peers.ask("router", message, deps.limits.peer_s))


async def run_job(request: web.Request) -> web.Response:
    """Runs a job beside its schedule; answers when it has ended, `{"name", "at", "outcome", "duration_ms"}`. 409: it runs already."""
    deps = request.app[DEPS]
    job = segment_of(request, _JOB_AT)
    message = RunCronJob(req_id=ReqId(""), trace=request[TRACE], guild_id=guild_id_of(request), job=job)
    return json_response(await deps.peers.ask("router", message, RUN_LIMIT_S))


ROUTES = (
    Route(method="GET", path="/cron/{guild_id}", handler=list_jobs, access=Access.GUILD_ADMIN_OR_OPERATOR),
    Route(
        method="POST",
        path="/cron/{guild_id}/{job}/run",
        handler=run_job,
        access=Access.GUILD_ADMIN_OR_OPERATOR,
        timed=False,
    ),
)
