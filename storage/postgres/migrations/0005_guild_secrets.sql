-- Encrypted secrets; the id is made by the application, because placeholders in scripts are derived from it.
CREATE TABLE IF NOT EXISTS guild_secrets (
    id            uuid PRIMARY KEY,
    guild_id      text NOT NULL,
    name          text NOT NULL,
    ciphertext    bytea NOT NULL,
    nonce         bytea NOT NULL,
    allowed_hosts text[] NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (guild_id, name)
);
