-- What each guild runs now. The table may exist already: databases of the Rust runtime have it in this form or,
-- from older releases, without source_map and with mandatory files.
DO $$
BEGIN
    IF to_regclass('deployments') IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM pg_attribute
        WHERE attrelid = to_regclass('deployments') AND attname = 'bundle' AND NOT attisdropped
    ) THEN
        RAISE EXCEPTION 'table deployments has no column bundle: it was made by a release that is too old to take over'
            USING HINT = 'Start the newest release of the Rust runtime on this database once, or use an empty database.';
    END IF;
END
$$;

CREATE TABLE IF NOT EXISTS deployments (
    guild_id   text PRIMARY KEY,
    entry      text NOT NULL,
    bundle     text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    source_map jsonb,
    files      jsonb
);

ALTER TABLE deployments ADD COLUMN IF NOT EXISTS source_map jsonb;
ALTER TABLE deployments ADD COLUMN IF NOT EXISTS files jsonb;
ALTER TABLE deployments ALTER COLUMN files DROP NOT NULL;
