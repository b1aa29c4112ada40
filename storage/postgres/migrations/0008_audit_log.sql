-- Who changed what: one line per deploy, rollback, undeploy, placement, secret, KV or token change. Lines are never
-- edited; old ones are deleted (audit.keep_days, audit.keep_rows). The id is made by who did the change, so that a line
-- that is sent twice is stored once.
CREATE TABLE IF NOT EXISTS audit_log (
    id             uuid PRIMARY KEY,
    at             timestamptz NOT NULL,
    guild_id       text,
    actor_type     text NOT NULL,
    actor_user_id  text,
    actor_username text,
    action         text NOT NULL,
    target         text NOT NULL,
    details        jsonb NOT NULL DEFAULT '{}'
);

CREATE INDEX IF NOT EXISTS audit_log_guild_at ON audit_log (guild_id, at DESC, id DESC);
CREATE INDEX IF NOT EXISTS audit_log_at ON audit_log (at DESC, id DESC);
