-- Key-value entries, for hosts that keep them here instead of in files. Keys, values and metadata are bytes: keys are
-- ordered as such, and values may hold what text columns refuse.
CREATE TABLE kv_entries (
    store_id      uuid NOT NULL REFERENCES kv_stores (id) ON DELETE CASCADE,
    key           bytea NOT NULL,
    value         bytea NOT NULL,
    is_json       boolean NOT NULL,
    expiration    bigint,  -- Unix seconds
    metadata      bytea NOT NULL,  -- JSON text; empty: none
    counted_bytes integer NOT NULL,
    PRIMARY KEY (store_id, key)
);

CREATE INDEX kv_entries_expiration ON kv_entries (store_id, expiration) WHERE expiration IS NOT NULL;

-- Kept up to date by every write, so that quotas need no sum over entries.
ALTER TABLE kv_stores
    ADD COLUMN key_count bigint NOT NULL DEFAULT 0,
    ADD COLUMN counted_bytes bigint NOT NULL DEFAULT 0;
