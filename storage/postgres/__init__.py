"""Deployments, secrets, tokens and key-value stores on Postgres, its connection pool and its migrations."""

from __future__ import annotations

from flora.storage.postgres.audit import PostgresAuditLog
from flora.storage.postgres.cron_runs import PostgresCronRunStore
from flora.storage.postgres.database import Database
from flora.storage.postgres.deployments import PostgresDeploymentStore
from flora.storage.postgres.host_tokens import create_token, delete_token, list_tokens
from flora.storage.postgres.kv import PostgresKv
from flora.storage.postgres.kv_index import PostgresKvIndex, all_kv_stores
from flora.storage.postgres.migrate import migrate
from flora.storage.postgres.placements import PostgresPlacementStore
from flora.storage.postgres.secrets_table import PostgresSecretStore
from flora.storage.postgres.tokens import PostgresTokenStore

__all__ = [
    "Database",
    "PostgresAuditLog",
    "PostgresCronRunStore",
    "PostgresDeploymentStore",
    "PostgresKv",
    "PostgresKvIndex",
    "PostgresPlacementStore",
    "PostgresSecretStore",
    "PostgresTokenStore",
    "all_kv_stores",
    "create_token",
    "delete_token",
    "list_tokens",
    "migrate",
]
