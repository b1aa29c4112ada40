"""All routes: one module per resource, each with its table."""

from __future__ import annotations

from flora.http.routes import auth, deployments, health, logs, metrics

TABLES = (health.ROUTES, auth.ROUTES, deployments.ROUTES, logs.ROUTES, metrics.ROUTES)
