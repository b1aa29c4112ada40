-- When a token ends by itself; null: never, as all of them did before.
ALTER TABLE user_tokens ADD COLUMN IF NOT EXISTS expires_at timestamptz;
