-- Which key a secret is encrypted under. NULL: it comes from the Rust runtime, under the only key there was, bound to nothing.
ALTER TABLE guild_secrets ADD COLUMN IF NOT EXISTS key_id text;

-- Numbers the sets of secrets that workers are given, so that an older one never replaces a newer one.
CREATE SEQUENCE IF NOT EXISTS guild_secrets_version;
