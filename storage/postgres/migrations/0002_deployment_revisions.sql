-- Every attempt to deploy, successful or not.
CREATE TABLE IF NOT EXISTS deployment_revisions (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    guild_id         text NOT NULL,
    entry            text NOT NULL,
    bundle           text NOT NULL,
    files            jsonb,
    source_map       jsonb,
    change_summary   jsonb,
    status           text NOT NULL CHECK (status IN ('success', 'failed')),
    deployed_at      timestamptz NOT NULL DEFAULT now(),
    deploy_source    text NOT NULL CHECK (deploy_source IN ('cli', 'webui', 'bootstrap', 'api', 'unknown')),
    actor_user_id    text,
    actor_username   text,
    actor_type       text NOT NULL CHECK (actor_type IN ('session', 'token', 'system')),
    error_message    text,
    build_id         text,
    base_revision_id uuid REFERENCES deployment_revisions (id) ON DELETE SET NULL
);

CREATE INDEX IF NOT EXISTS idx_deployment_revisions_guild_deployed_at
    ON deployment_revisions (guild_id, deployed_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS idx_deployment_revisions_guild_status_deployed_at
    ON deployment_revisions (guild_id, status, deployed_at DESC, id DESC);

-- ON DELETE SET NULL looks up the children of every deleted revision.
CREATE INDEX IF NOT EXISTS deployment_revisions_base_revision_id
    ON deployment_revisions (base_revision_id) WHERE base_revision_id IS NOT NULL;

-- A deployment from before revisions existed gets the one that explains it, or its guild would look new.
INSERT INTO deployment_revisions (guild_id, entry, files, bundle, source_map, status, deployed_at, deploy_source, actor_type)
SELECT guild_id, entry, files, bundle, source_map, 'success', updated_at, 'unknown', 'system'
FROM deployments AS stored
WHERE NOT EXISTS (
    SELECT 1 FROM deployment_revisions AS known
    WHERE known.guild_id = stored.guild_id AND known.status = 'success'
);
