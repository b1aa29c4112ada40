-- The last run of each cron job. No outcome: it has not ended, or the job was only seen so far.
CREATE TABLE IF NOT EXISTS cron_runs (
    guild_id   text NOT NULL,
    job        text NOT NULL,
    expression text NOT NULL,
    ran_at     timestamptz NOT NULL,
    outcome    text,
    elapsed_us bigint,
    PRIMARY KEY (guild_id, job)
);
