CREATE TABLE IF NOT EXISTS user_tokens (
    token_id     text PRIMARY KEY,
    user_id      text NOT NULL,
    label        text,
    token_hash   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz
);

-- Each API request looks its token up by hash. Equal hashes mean the same token twice; a database that was edited by
-- hand may have them, and that is no reason to refuse it.
DO $$
BEGIN
    CREATE UNIQUE INDEX IF NOT EXISTS user_tokens_token_hash ON user_tokens (token_hash);
EXCEPTION WHEN unique_violation THEN
    CREATE INDEX IF NOT EXISTS user_tokens_token_hash ON user_tokens (token_hash);
END
$$;

CREATE INDEX IF NOT EXISTS user_tokens_user_id ON user_tokens (user_id, created_at DESC);
