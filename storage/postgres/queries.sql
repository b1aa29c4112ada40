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

-- :name latest_success
SELECT id, guild_id, entry, CASE WHEN %(include_bundle)s THEN bundle END AS bundle, files, source_map, change_summary,
    status, deployed_at, deploy_source, actor_user_id, actor_username, actor_type, error_message, build_id,
    base_revision_id
FROM deployment_revisions
WHERE guild_id = %(guild_id)s AND status = 'success'
ORDER BY deployed_at DESC, id DESC
LIMIT 1;

-- :name revision_by_id
SELECT id, guild_id, entry, CASE WHEN %(include_bundle)s THEN bundle END AS bundle, files, source_map, change_summary,
    status, deployed_at, deploy_source, actor_user_id, actor_username, actor_type, error_message, build_id,
    base_revision_id
FROM deployment_revisions
WHERE guild_id = %(guild_id)s AND id = %(id)s;

-- :name revision_history
SELECT id, guild_id, entry, CASE WHEN %(include_bundle)s THEN bundle END AS bundle, files, source_map, change_summary,
    status, deployed_at, deploy_source, actor_user_id, actor_username, actor_type, error_message, build_id,
    base_revision_id
FROM deployment_revisions
WHERE guild_id = %(guild_id)s
    AND (%(before_id)s::uuid IS NULL OR (deployed_at, id) < (%(before_at)s::timestamptz, %(before_id)s::uuid))
ORDER BY deployed_at DESC, id DESC
LIMIT %(limit)s;

-- :name insert_token
INSERT INTO user_tokens (token_id, user_id, label, token_hash)
VALUES (%(token_id)s, %(user_id)s, %(label)s, %(token_hash)s);

-- A read unless the stamp is old: a write per request would make every reader wait for the disk.
-- :name user_of_token
WITH found AS (
    SELECT token_id, user_id, last_used_at FROM user_tokens WHERE token_hash = %(token_hash)s LIMIT 1
), stamped AS (
    UPDATE user_tokens SET last_used_at = now()
    FROM found
    WHERE user_tokens.token_id = found.token_id
        AND (found.last_used_at IS NULL OR found.last_used_at < now() - make_interval(secs => %(stamp_every_s)s))
)
SELECT user_id FROM found;

-- :name tokens_of_user
SELECT token_id, label, created_at, last_used_at
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
