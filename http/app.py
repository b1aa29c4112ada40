"""The HTTP application. Front page of this folder:

app          this file: puts the pieces together            server        the listening socket around an application
routing      what a route is; limit, identity, permission   routes/       one file per resource, each with its table
middleware   request ids, errors, compression, access log   errors        error code → status and text
auth         who is calling                                 access        may they administer the guild
login        in and out with Discord                        discord_oauth what Discord is asked for that
sessions     who is logged in                               session_record  tokens and records of sessions
user_guilds  what people are members of                     entrance      all that logging in takes, put together
throttle     how often something may be done                pages         errors for people with a browser
body, query  reading what was sent                          render        writing JSON
log_streams  live log lines to many readers                 peers, ports  the way to the actors
limits       every limit, with its reason                   lifecycle     draining
metrics/     what every actor counts, and its formats
home         what a browser gets at /                       boot          how far the system is while it starts
"""

from __future__ import annotations

from aiohttp import web

from flora.http.deps import DEPS, METRICS, Deps
from flora.http.home import home
from flora.http.lifecycle import LIFECYCLE, ServerLifecycle
from flora.http.metrics.reading import Reader
from flora.http.middleware import MIDDLEWARES, add_headers
from flora.http.routes import TABLES
from flora.http.routing import ROUTE_OF, add_routes


def create_app(deps: Deps) -> web.Application:
    """The application, ready to be served. Inside a running asyncio loop."""
    app = web.Application(middlewares=MIDDLEWARES, client_max_size=deps.limits.max_body_bytes)
    app[DEPS] = deps
    app[METRICS] = Reader(deps.peers, deps.limits)
    app[ROUTE_OF] = {}
    app[LIFECYCLE] = ServerLifecycle()
    app.on_response_prepare.append(add_headers)
    app.router.add_get("/", home)
    for table in TABLES:
        add_routes(app, table)
    return app
