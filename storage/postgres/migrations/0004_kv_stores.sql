-- Which KV stores exist; their contents live elsewhere.
CREATE TABLE IF NOT EXISTS kv_stores (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    guild_id   text NOT NULL,
    store_name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (guild_id, store_name)
);

CREATE INDEX IF NOT EXISTS idx_kv_stores_guild_id ON kv_stores (guild_id);
