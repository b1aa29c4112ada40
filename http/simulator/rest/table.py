"""All REST routes in one table."""

from __future__ import annotations

from flora.http.simulator.rest import (
    channels,
    commands,
    gateway_routes,
    guilds,
    interaction_routes,
    members,
    messages,
    threads,
    webhooks,
)
from flora.http.simulator.rest.routing import Routes


def all_routes() -> Routes:
    """A table with every route served here."""
    routes = Routes()
    modules = (
        gateway_routes, channels, messages, threads, guilds, members, commands, interaction_routes, webhooks
    )  # fmt: skip
    for module in modules:
        module.register(routes)
    return routes
