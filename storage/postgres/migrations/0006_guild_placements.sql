-- Guilds that do not run where every guild runs: pinned by an operator, or quarantined. No row: the configured default.
CREATE TABLE IF NOT EXISTS guild_placements (
    guild_id   text PRIMARY KEY,
    placement  text NOT NULL,
    reason     text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
