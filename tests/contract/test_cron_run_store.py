from __future__ import annotations

from dataclasses import replace

from flora.messages.cron import CronRun
from flora.messages.ids import GuildId
from flora.storage.ports import CronRunStore

G, H = GuildId("1"), GuildId("2")
AT = 1_780_000_000.25
SEEN = CronRun(guild_id=G, job="a", expression="@hourly", at_s=AT)
RAN = replace(SEEN, at_s=AT + 60, outcome="ok", elapsed_us=1500)


async def test_given_new_jobs_when_adopted_then_nothing_is_known_and_the_next_time_what_was_given_is(
    cron_runs: CronRunStore,
) -> None:
    first = await cron_runs.adopt(G, [SEEN, replace(SEEN, job="ü 🙂")])

    assert list(first) == []
    assert list(await cron_runs.adopt(G, [replace(SEEN, at_s=AT + 99)])) == [SEEN]


async def test_given_a_recorded_run_when_adopted_then_it_comes_back_whole(cron_runs: CronRunStore) -> None:
    await cron_runs.adopt(G, [SEEN])
    await cron_runs.record([RAN, replace(RAN, guild_id=H)])

    assert list(await cron_runs.adopt(G, [SEEN])) == [RAN]
    assert list(await cron_runs.adopt(H, [replace(SEEN, guild_id=H)])) == [replace(RAN, guild_id=H)]


async def test_given_an_older_run_when_recorded_then_the_newer_one_stays_and_an_end_replaces_its_beginning(
    cron_runs: CronRunStore,
) -> None:
    await cron_runs.record([replace(RAN, outcome=None, elapsed_us=None)])
    await cron_runs.record([RAN])
    await cron_runs.record([SEEN])

    assert list(await cron_runs.adopt(G, [SEEN])) == [RAN]


async def test_given_another_expression_when_adopted_then_the_job_is_a_new_one(cron_runs: CronRunStore) -> None:
    await cron_runs.record([RAN])
    changed = replace(SEEN, expression="@daily", at_s=AT + 500)

    assert list(await cron_runs.adopt(G, [changed])) == []
    assert list(await cron_runs.adopt(G, [replace(changed, at_s=AT + 900)])) == [changed]


async def test_given_jobs_that_are_gone_when_adopted_then_they_are_forgotten_and_other_guilds_keep_theirs(
    cron_runs: CronRunStore,
) -> None:
    await cron_runs.record([RAN, replace(RAN, job="b"), replace(RAN, guild_id=H)])
    await cron_runs.adopt(G, [replace(SEEN, job="b")])
    await cron_runs.adopt(G, [])

    assert list(await cron_runs.adopt(G, [SEEN, replace(SEEN, job="b")])) == []
    assert list(await cron_runs.adopt(H, [replace(SEEN, guild_id=H)])) == [replace(RAN, guild_id=H)]


async def test_given_nothing_when_recorded_then_that_is_fine(cron_runs: CronRunStore) -> None:
    await cron_runs.record([])
