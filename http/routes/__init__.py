"""All routes: one module per resource, each with its table."""

from __future__ import annotations

from flora.http.routes import (
    audit,
    auth,
    cron,
    deployments,
    guild_secrets,
    guilds,
    health,
    kv,
    kv_exports,
    logs,
    metrics,
    revisions,
    tokens,
    traces,
    workers,
)

TABLES = (
    health.ROUTES,
    auth.ROUTES,
    tokens.ROUTES,
    deployments.ROUTES,
    revisions.ROUTES,
    guilds.ROUTES,
    guild_secrets.ROUTES,
    workers.ROUTES,
    cron.ROUTES,
    kv.ROUTES,
    kv_exports.ROUTES,
    logs.ROUTES,
    traces.ROUTES,
    metrics.ROUTES,
    audit.ROUTES,
)
