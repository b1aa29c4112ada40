-- Every query of the running program. Migrations have their own files.
-- Times come back in UTC because each connection is set to it.

-- :name deployment_of_guild
SELECT guild_id, entry, bundle, files, source_map, created_at, updated_at
FROM deployments
WHERE guild_id = %(guild_id)s;

-- :name deployment_summaries
SELECT guild_id, entry, created_at, updated_at
FROM deployments
ORDER BY guild_id;

-- The revision's time is later than that of any other of its guild, or "the latest" would be the wrong one after the
-- clock went back.
-- :name insert_revision
INSERT INTO deployment_revisions (
    id, guild_id, entry, bundle, files, source_map, change_summary, status, deployed_at, deploy_source,
    actor_user_id, actor_username, actor_type, error_message, build_id, base_revision_id
)
SELECT
    %(id)s, %(guild_id)s, %(entry)s, %(bundle)s, %(files)s, %(source_map)s, %(change_summary)s, %(status)s,
    greatest(clock_timestamp(), max(known.deployed_at) + interval '1 microsecond'), %(deploy_source)s,
    %(actor_user_id)s, %(actor_username)s, %(actor_type)s, %(error_message)s, %(build_id)s, %(base_revision_id)s
FROM deployment_revisions AS known
WHERE known.guild_id = %(guild_id)s
RETURNING deployed_at;

-- :name upsert_deployment
INSERT INTO deployments (guild_id, entry, bundle, files, source_map, created_at, updated_at)
VALUES (%(guild_id)s, %(entry)s, %(bundle)s, %(files)s, %(source_map)s, %(deployed_at)s, %(deployed_at)s)
ON CONFLICT (guild_id) DO UPDATE SET
    entry = excluded.entry,
    bundle = excluded.bundle,
    files = excluded.files,
    source_map = excluded.source_map,
    updated_at = excluded.updated_at
RETURNING created_at, updated_at;

-- :name delete_deployment
DELETE FROM deployments
WHERE guild_id = %(guild_id)s
RETURNING guild_id;

-- Old revisions of one kind; the newest ones stay, and with them the one that runs.
-- :name prune_revisions
DELETE FROM deployment_revisions
WHERE id IN (
    SELECT id FROM deployment_revisions
    WHERE guild_id = %(guild_id)s AND status = %(status)s
    ORDER BY deployed_at DESC, id DESC
    OFFSET %(keep)s
);

-- What a failed attempt wanted to run is looked at right after it, or never.
-- :name drop_failed_bundles
UPDATE deployment_revisions SET bundle = '', source_map = NULL
WHERE bundle <> '' AND id IN (
    SELECT id FROM deployment_revisions
    WHERE guild_id = %(guild_id)s AND status = 'failed'
    ORDER BY deployed_at DESC, id DESC
    OFFSET %(keep)s
);

-- :name latest_success
SELECT id, guild_id, entry, CASE WHEN %(include_bundle)s THEN bundle END AS bundle, files, source_map, change_summary,
    status, deployed_at, deploy_source, actor_user_id, actor_username, actor_type, error_message, build_id,
    base_revision_id
FROM deployment_revisions
WHERE guild_id = %(guild_id)s AND status = 'success'
    AND (NOT %(must_be_live)s OR EXISTS (SELECT 1 FROM deployments WHERE guild_id = %(guild_id)s))
ORDER BY deployed_at DESC, id DESC
LIMIT 1;

-- :name revision_by_id
SELECT id, guild_id, entry, CASE WHEN %(include_bundle)s THEN bundle END AS bundle, files, source_map, change_summary,
    status, deployed_at, deploy_source, actor_user_id, actor_username, actor_type, error_message, build_id,
    base_revision_id
FROM deployment_revisions
WHERE guild_id = %(guild_id)s AND id = %(id)s;

-- Sizes are added up over what is asked for, and the page ends before it has more than max_bytes; its first row is always there.
-- :name revision_history
WITH asked AS (
    SELECT id, guild_id, entry, CASE WHEN %(include_bundle)s THEN bundle END AS bundle,
        CASE WHEN %(include_files)s THEN files END AS files, CASE WHEN %(include_files)s THEN source_map END AS source_map,
        change_summary, status, deployed_at, deploy_source, actor_user_id, actor_username, actor_type, error_message,
        build_id, base_revision_id
    FROM deployment_revisions
    WHERE guild_id = %(guild_id)s
        AND (%(before_id)s::uuid IS NULL OR (deployed_at, id) < (%(before_at)s::timestamptz, %(before_id)s::uuid))
    ORDER BY deployed_at DESC, id DESC
    LIMIT %(limit)s
), measured AS (
    SELECT asked.*,
        row_number() OVER newest_first AS place,
        sum(
            coalesce(octet_length(bundle), 0) + coalesce(octet_length(files::text), 0)
            + coalesce(octet_length(source_map::text), 0)
        ) OVER newest_first AS bytes_so_far
    FROM asked
    WINDOW newest_first AS (ORDER BY deployed_at DESC, id DESC)
)
SELECT id, guild_id, entry, bundle, files, source_map, change_summary, status, deployed_at, deploy_source,
    actor_user_id, actor_username, actor_type, error_message, build_id, base_revision_id
FROM measured
WHERE place = 1 OR bytes_so_far <= %(max_bytes)s
ORDER BY deployed_at DESC, id DESC;

-- Two at the same moment may end up one above the limit, which harms nobody. A row tells that it was made.
-- :name insert_token
WITH forgotten AS (
    DELETE FROM user_tokens
    WHERE user_id = %(user_id)s AND expires_at < now() - make_interval(days => %(expired_kept_days)s)
)
INSERT INTO user_tokens (token_id, user_id, label, token_hash, expires_at)
SELECT %(token_id)s, %(user_id)s, %(label)s, %(token_hash)s, %(expires_at)s
WHERE (
    SELECT count(*) FROM user_tokens WHERE user_id = %(user_id)s AND (expires_at IS NULL OR expires_at > now())
) < %(max_per_user)s
RETURNING token_id;

-- A read unless the stamp is old: a write per request would make every reader wait for the disk.
-- :name user_of_token
WITH found AS (
    SELECT token_id, user_id, last_used_at
    FROM user_tokens
    WHERE token_hash = %(token_hash)s AND (expires_at IS NULL OR expires_at > now())
    LIMIT 1
), stamped AS (
    UPDATE user_tokens SET last_used_at = now()
    FROM found
    WHERE user_tokens.token_id = found.token_id
        AND (found.last_used_at IS NULL OR found.last_used_at < now() - make_interval(secs => %(stamp_every_s)s))
)
SELECT user_id FROM found;

-- :name tokens_of_user
SELECT token_id, label, created_at, last_used_at, expires_at
FROM user_tokens
WHERE user_id = %(user_id)s
ORDER BY created_at DESC, token_id;

-- :name delete_token
DELETE FROM user_tokens
WHERE user_id = %(user_id)s AND token_id = %(token_id)s
RETURNING token_id;

-- :name placements
SELECT guild_id, placement, reason, updated_at
FROM guild_placements
ORDER BY guild_id;

-- :name upsert_placement
INSERT INTO guild_placements (guild_id, placement, reason, updated_at)
VALUES (%(guild_id)s, %(placement)s, %(reason)s, now())
ON CONFLICT (guild_id) DO UPDATE SET
    placement = excluded.placement,
    reason = excluded.reason,
    updated_at = excluded.updated_at;

-- :name delete_placement
DELETE FROM guild_placements
WHERE guild_id = %(guild_id)s;

-- Key-value stores. Expirations are Unix seconds; `now` is the caller's clock, in whole ones.

-- :name kv_all_stores
SELECT guild_id, id, store_name, created_at
FROM kv_stores
ORDER BY guild_id, store_name COLLATE "C";

-- :name kv_stores_of_guild
SELECT id, store_name, created_at
FROM kv_stores
WHERE guild_id = %(guild_id)s
ORDER BY store_name COLLATE "C";

-- Where contents are in files. A row with entries is of a time when they were here: it goes only with its store.
-- :name kv_replace_index
WITH gone AS (
    DELETE FROM kv_stores
    WHERE guild_id = %(guild_id)s
        AND store_name <> ALL (%(names)s::text[])
        AND NOT EXISTS (SELECT FROM kv_entries WHERE kv_entries.store_id = kv_stores.id)
)
INSERT INTO kv_stores (id, guild_id, store_name, created_at, updated_at)
SELECT given.id, %(guild_id)s, given.store_name, given.created_at, given.created_at
FROM unnest(%(ids)s::uuid[], %(names)s::text[], %(times)s::timestamptz[]) AS given (id, store_name, created_at)
ON CONFLICT (guild_id, store_name) DO NOTHING;

-- :name kv_store
SELECT id, store_name, created_at, key_count, counted_bytes
FROM kv_stores
WHERE guild_id = %(guild_id)s AND store_name = %(store)s;

-- Whoever writes to a store holds its row: writes of two owners, which a host that lost touch may cause, follow each other.
-- :name kv_lock_store
SELECT id
FROM kv_stores
WHERE guild_id = %(guild_id)s AND store_name = %(store)s
FOR UPDATE;

-- :name kv_create_store
INSERT INTO kv_stores (guild_id, store_name)
VALUES (%(guild_id)s, %(store)s)
ON CONFLICT (guild_id, store_name) DO NOTHING
RETURNING id, store_name, created_at;

-- :name kv_drop_store
DELETE FROM kv_stores
WHERE guild_id = %(guild_id)s AND store_name = %(store)s
RETURNING id;

-- :name kv_get
SELECT entry.value, entry.is_json, entry.expiration, entry.metadata
FROM kv_stores AS store
JOIN kv_entries AS entry ON entry.store_id = store.id
WHERE store.guild_id = %(guild_id)s AND store.store_name = %(store)s AND entry.key = %(key)s
    AND (entry.expiration IS NULL OR entry.expiration > %(now)s);

-- What a write must know; one row always.
-- :name kv_before_write
SELECT
    (SELECT count(*) FROM kv_stores WHERE guild_id = %(guild_id)s) AS stores,
    (SELECT coalesce(sum(counted_bytes), 0) FROM kv_stores WHERE guild_id = %(guild_id)s)::bigint AS guild_bytes,
    (SELECT counted_bytes FROM kv_stores WHERE id = %(store_id)s) AS store_bytes,
    (SELECT counted_bytes FROM kv_entries WHERE store_id = %(store_id)s AND key = %(key)s) AS entry_bytes;

-- :name kv_put
WITH written AS (
    INSERT INTO kv_entries (store_id, key, value, is_json, expiration, metadata, counted_bytes)
    VALUES (%(store_id)s, %(key)s, %(value)s, %(is_json)s, %(expiration)s, %(metadata)s, %(counted_bytes)s)
    ON CONFLICT (store_id, key) DO UPDATE SET
        value = excluded.value,
        is_json = excluded.is_json,
        expiration = excluded.expiration,
        metadata = excluded.metadata,
        counted_bytes = excluded.counted_bytes
)
UPDATE kv_stores SET
    updated_at = now(),
    key_count = key_count + %(new_keys)s,
    counted_bytes = counted_bytes + %(grown)s
WHERE id = %(store_id)s;

-- :name kv_delete
WITH gone AS (
    DELETE FROM kv_entries AS entry
    USING kv_stores AS store
    WHERE entry.store_id = store.id AND store.guild_id = %(guild_id)s AND store.store_name = %(store)s
        AND entry.key = %(key)s
    RETURNING entry.store_id, entry.counted_bytes, entry.expiration
), counted AS (
    UPDATE kv_stores AS store SET
        key_count = store.key_count - 1,
        counted_bytes = store.counted_bytes - gone.counted_bytes
    FROM gone
    WHERE store.id = gone.store_id
)
SELECT expiration IS NULL OR expiration > %(now)s AS was_live FROM gone;

-- :name kv_list
SELECT entry.key, entry.expiration, entry.metadata
FROM kv_stores AS store
JOIN kv_entries AS entry ON entry.store_id = store.id
WHERE store.guild_id = %(guild_id)s AND store.store_name = %(store)s
    AND entry.key >= %(begin)s AND (%(after)s::bytea IS NULL OR entry.key > %(after)s)
    AND (%(end)s::bytea IS NULL OR entry.key < %(end)s)
    AND (entry.expiration IS NULL OR entry.expiration > %(now)s)
ORDER BY entry.key
LIMIT %(limit)s;

-- :name kv_sweep
WITH doomed AS (
    SELECT entry.store_id, entry.key
    FROM kv_stores AS store
    JOIN kv_entries AS entry ON entry.store_id = store.id
    WHERE store.guild_id = %(guild_id)s AND (%(store)s::text IS NULL OR store.store_name = %(store)s)
        AND entry.expiration <= %(now)s
    LIMIT %(limit)s
), gone AS (
    DELETE FROM kv_entries AS entry
    USING doomed
    WHERE entry.store_id = doomed.store_id AND entry.key = doomed.key
    RETURNING entry.store_id, entry.counted_bytes
), sums AS (
    SELECT store_id, count(*) AS keys, sum(counted_bytes) AS counted_bytes FROM gone GROUP BY store_id
)
UPDATE kv_stores AS store SET
    key_count = store.key_count - sums.keys,
    counted_bytes = store.counted_bytes - sums.counted_bytes
FROM sums
WHERE store.id = sums.store_id
RETURNING sums.keys;

-- :name kv_entries_of_store
SELECT key, value, is_json, expiration, metadata
FROM kv_entries
WHERE store_id = %(store_id)s AND (expiration IS NULL OR expiration > %(now)s)
ORDER BY key;

-- :name kv_empty_store
DELETE FROM kv_entries WHERE store_id = %(store_id)s;

-- Contents of a store in the making: a table that only this connection sees.
-- :name kv_make_draft
CREATE TEMP TABLE kv_draft (LIKE kv_entries);

-- :name kv_add_to_draft
INSERT INTO kv_draft (store_id, key, value, is_json, expiration, metadata, counted_bytes)
VALUES (%(store_id)s, %(key)s, %(value)s, %(is_json)s, %(expiration)s, %(metadata)s, %(counted_bytes)s);

-- :name kv_take_draft
INSERT INTO kv_entries (store_id, key, value, is_json, expiration, metadata, counted_bytes)
SELECT %(store_id)s, key, value, is_json, expiration, metadata, counted_bytes
FROM kv_draft;

-- :name kv_count_store
UPDATE kv_stores SET updated_at = now(), key_count = %(key_count)s, counted_bytes = %(counted_bytes)s
WHERE id = %(store_id)s;

-- :name insert_audit_line
INSERT INTO audit_log (id, at, guild_id, actor_type, actor_user_id, actor_username, action, target, details)
VALUES (
    %(id)s, %(at)s, %(guild_id)s, %(actor_type)s, %(actor_user_id)s, %(actor_username)s, %(action)s, %(target)s,
    %(details)s
)
ON CONFLICT (id) DO NOTHING;

-- :name audit_page
SELECT id, at, guild_id, actor_type, actor_user_id, actor_username, action, target, details
FROM audit_log
WHERE (%(guild_id)s::text IS NULL OR guild_id = %(guild_id)s)
    AND (%(before_id)s::uuid IS NULL OR (at, id) < (%(before_at)s::timestamptz, %(before_id)s::uuid))
ORDER BY at DESC, id DESC
LIMIT %(limit)s;

-- The row after the last one to be kept, and all below it, go; without one the comparison is null and nothing goes.
-- :name prune_audit
WITH surplus AS (
    SELECT at, id FROM audit_log
    WHERE %(keep_rows)s::bigint IS NOT NULL
    ORDER BY at DESC, id DESC
    OFFSET coalesce(%(keep_rows)s::bigint, 0) LIMIT 1
), gone AS (
    DELETE FROM audit_log
    WHERE at < %(older_than)s::timestamptz OR (at, id) <= (SELECT at, id FROM surplus)
    RETURNING 1
)
SELECT count(*) AS pruned FROM gone;

-- :name next_secrets_version
SELECT nextval('guild_secrets_version') AS version;

-- :name secrets_of_guild
SELECT id, guild_id, name, ciphertext, nonce, key_id, allowed_hosts
FROM guild_secrets
WHERE guild_id = %(guild_id)s
ORDER BY name COLLATE "C";

-- The row keeps its id: placeholders in running scripts are made from it.
-- :name upsert_secret
INSERT INTO guild_secrets (id, guild_id, name, ciphertext, nonce, key_id, allowed_hosts)
VALUES (%(id)s, %(guild_id)s, %(name)s, %(ciphertext)s, %(nonce)s, %(key_id)s, %(allowed_hosts)s)
ON CONFLICT (guild_id, name) DO UPDATE SET
    ciphertext = excluded.ciphertext,
    nonce = excluded.nonce,
    key_id = excluded.key_id,
    allowed_hosts = excluded.allowed_hosts,
    updated_at = now();

-- :name delete_secret
DELETE FROM guild_secrets
WHERE guild_id = %(guild_id)s AND name = %(name)s
RETURNING id;

-- :name secrets_under_other_keys
SELECT id, guild_id, name, ciphertext, nonce, key_id, allowed_hosts
FROM guild_secrets
WHERE key_id IS DISTINCT FROM %(key_id)s AND (%(after)s::uuid IS NULL OR id > %(after)s::uuid)
ORDER BY id
LIMIT %(limit)s;

-- Nothing if it was written meanwhile: every write has a nonce of its own.
-- :name reseal_secret
UPDATE guild_secrets
SET ciphertext = %(ciphertext)s, nonce = %(nonce)s, key_id = %(key_id)s
WHERE id = %(id)s AND nonce = %(old_nonce)s
RETURNING id;

-- What was stored of the guild's jobs before this statement; afterwards these jobs, and no others, are stored.
-- :name adopt_cron_jobs
WITH wanted AS (
    SELECT job, expression, ran_at, outcome, elapsed_us
    FROM unnest(%(jobs)s::text[], %(expressions)s::text[], %(times)s::timestamptz[], %(outcomes)s::text[], %(elapsed)s::bigint[])
        AS jobs (job, expression, ran_at, outcome, elapsed_us)
), known AS (
    SELECT stored.guild_id, stored.job, stored.expression, stored.ran_at, stored.outcome, stored.elapsed_us
    FROM cron_runs AS stored JOIN wanted USING (job, expression)
    WHERE stored.guild_id = %(guild_id)s
), gone AS (
    DELETE FROM cron_runs WHERE guild_id = %(guild_id)s AND job NOT IN (SELECT job FROM wanted)
), added AS (
    INSERT INTO cron_runs (guild_id, job, expression, ran_at, outcome, elapsed_us)
    SELECT %(guild_id)s, job, expression, ran_at, outcome, elapsed_us
    FROM wanted WHERE job NOT IN (SELECT job FROM known)
    ON CONFLICT (guild_id, job) DO UPDATE SET
        expression = excluded.expression,
        ran_at = excluded.ran_at,
        outcome = excluded.outcome,
        elapsed_us = excluded.elapsed_us
)
SELECT guild_id, job, expression, ran_at, outcome, elapsed_us FROM known ORDER BY job;

-- :name record_cron_runs
INSERT INTO cron_runs (guild_id, job, expression, ran_at, outcome, elapsed_us)
SELECT guild_id, job, expression, ran_at, outcome, elapsed_us
FROM unnest(
    %(guilds)s::text[], %(jobs)s::text[], %(expressions)s::text[], %(times)s::timestamptz[], %(outcomes)s::text[], %(elapsed)s::bigint[]
) AS runs (guild_id, job, expression, ran_at, outcome, elapsed_us)
ON CONFLICT (guild_id, job) DO UPDATE SET
    expression = excluded.expression,
    ran_at = excluded.ran_at,
    outcome = excluded.outcome,
    elapsed_us = excluded.elapsed_us
WHERE cron_runs.ran_at <= excluded.ran_at;
