from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flora.actors.audit_trail import audit_line
from flora.messages.audit import AuditLine
from flora.messages.deployment import DeployActor, Deployment, Revision
from flora.messages.errors import StorageError
from flora.messages.ids import GuildId
from flora.storage.memory import MemoryDeploymentStore
from flora.storage.ports import DeploymentStore, RevisionCursor

MakePair = Callable[..., tuple[Deployment, Revision]]
G = GuildId("1")


async def test_given_nothing_when_read_then_everything_is_absent(deployments: DeploymentStore) -> None:
    assert await deployments.current(G) is None
    assert await deployments.latest_success(G) is None
    assert await deployments.latest(G) is None
    assert list(await deployments.summaries()) == []
    assert list(await deployments.history(G, 10)) == []


async def test_given_a_success_when_read_then_it_comes_back_as_it_was(
    deployments: DeploymentStore, make_pair: MakePair
) -> None:
    deployment, revision = make_pair(bundle="console.log('ä — 🙂')")
    before = datetime.now(UTC)

    recorded = await deployments.record_success(deployment, revision)

    assert recorded.created_at == recorded.updated_at
    assert before - timedelta(seconds=5) < recorded.created_at < datetime.now(UTC) + timedelta(seconds=5)
    assert recorded.created_at.utcoffset() == timedelta(0)
    stored = await deployments.current(G)
    assert stored == replace(deployment, created_at=recorded.created_at, updated_at=recorded.updated_at)
    kept = await deployments.latest_success(G, include_bundle=True)
    assert kept == replace(revision, deployed_at=recorded.updated_at)
    assert await deployments.revision(G, revision.revision_id, include_bundle=True) == kept


async def test_given_a_bare_bundle_when_read_then_absent_stays_absent(
    deployments: DeploymentStore, make_pair: MakePair
) -> None:
    deployment, revision = make_pair(files=None, source_map=None, change_summary=None, build_id=None)

    await deployments.record_success(replace(deployment, files=None, source_map=None), revision)

    stored = await deployments.current(G)
    assert stored is not None
    assert stored.files is None
    assert stored.source_map is None
    kept = await deployments.latest_success(G)
    assert kept is not None
    assert (kept.files, kept.source_map, kept.change_summary, kept.build_id) == (None, None, None, None)


async def test_given_two_successes_then_the_second_is_current_and_the_first_keeps_its_birthday(
    deployments: DeploymentStore, make_pair: MakePair
) -> None:
    first = await deployments.record_success(*make_pair(bundle="one"))
    deployment, revision = make_pair(bundle="two")

    second = await deployments.record_success(deployment, revision)

    assert second.created_at == first.created_at
    assert second.updated_at > first.updated_at
    stored = await deployments.current(G)
    assert stored is not None
    assert stored.bundle == "two"
    newest = await deployments.latest_success(G)
    assert newest is not None
    assert newest.revision_id == revision.revision_id


async def test_given_a_failure_after_a_success_then_the_deployment_stays(
    deployments: DeploymentStore, make_pair: MakePair
) -> None:
    _, good = make_pair(bundle="good")
    await deployments.record_success(make_pair(bundle="good")[0], good)
    _, bad = make_pair(
        bundle="bad", status="failed", error_message="ReferenceError: x", base_revision_id=good.revision_id
    )

    failed = await deployments.record_failure(bad)

    assert failed.deployed_at is not None
    stored = await deployments.current(G)
    assert stored is not None
    assert stored.bundle == "good"
    newest_success = await deployments.latest_success(G)
    assert newest_success is not None
    assert newest_success.revision_id == good.revision_id
    assert await deployments.latest(G) == replace(failed, bundle=None, files=None, source_map=None)


async def test_given_a_revision_that_cannot_be_added_then_the_deployment_does_not_change(
    deployments: DeploymentStore, make_pair: MakePair
) -> None:
    deployment, revision = make_pair(bundle="one")
    await deployments.record_success(deployment, revision)

    with pytest.raises(StorageError):
        await deployments.record_success(replace(deployment, bundle="two"), replace(revision, bundle="two"))

    stored = await deployments.current(G)
    assert stored is not None
    assert stored.bundle == "one"
    assert len(await deployments.history(G, 10)) == 1


async def test_given_many_guilds_when_listed_then_each_comes_once(
    deployments: DeploymentStore, make_pair: MakePair
) -> None:
    guilds = {str(number * 7919) for number in range(23)}
    for guild in guilds:
        await deployments.record_success(*make_pair(guild=guild, bundle=guild))

    assert sorted(summary.guild_id for summary in await deployments.summaries()) == sorted(guilds)


async def test_given_a_history_when_paged_then_newest_first_without_gaps(
    deployments: DeploymentStore, make_pair: MakePair
) -> None:
    made = []
    for number in range(7):
        deployment, revision = make_pair(bundle=str(number))
        await deployments.record_success(deployment, revision)
        made.append(revision.revision_id)
    await deployments.record_success(*make_pair(guild="2"))

    seen: list[Revision] = []
    before: RevisionCursor | None = None
    while page := await deployments.history(G, 3, before):
        seen += page
        assert page[-1].deployed_at is not None
        before = RevisionCursor(deployed_at=page[-1].deployed_at, revision_id=page[-1].revision_id)

    assert [revision.revision_id for revision in seen] == made[::-1]
    assert all(revision.bundle is None for revision in seen)
    assert [revision.bundle for revision in await deployments.history(G, 2, include_bundle=True)] == ["6", "5"]


async def test_given_another_guilds_revision_or_no_uuid_then_it_is_not_found(
    deployments: DeploymentStore, make_pair: MakePair
) -> None:
    deployment, revision = make_pair()
    await deployments.record_success(deployment, revision)

    assert await deployments.revision(GuildId("2"), revision.revision_id) is None
    assert await deployments.revision(G, str(uuid.uuid4())) is None
    assert await deployments.revision(G, "latest") is None


async def test_given_attempts_at_once_then_their_times_differ(
    deployments: DeploymentStore, make_pair: MakePair
) -> None:
    await asyncio.gather(*(deployments.record_success(*make_pair(guild=str(n % 3), bundle=str(n))) for n in range(12)))

    for guild in ("0", "1", "2"):
        times = [revision.deployed_at for revision in await deployments.history(GuildId(guild), 10)]
        assert len(times) == 4


async def test_given_a_clock_that_went_back_when_recorded_then_the_later_one_is_the_latest(make_pair: MakePair) -> None:
    times = iter([datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)])
    store = MemoryDeploymentStore(now=lambda: next(times))
    await store.record_success(*make_pair(bundle="one"))
    deployment, revision = make_pair(bundle="two")

    await store.record_success(deployment, revision)

    newest = await store.latest_success(G)
    assert newest is not None
    assert newest.revision_id == revision.revision_id


def an_undeploy(guild: str = "1") -> AuditLine:
    return audit_line(GuildId(guild), DeployActor(kind="token", user_id="7"), "deploy.undeploy", "r")


async def test_given_a_deployment_when_removed_then_its_history_stays_and_it_can_come_back(
    deployments: DeploymentStore, make_pair: MakePair
) -> None:
    await deployments.record_success(*make_pair(guild="2"))
    deployment, revision = make_pair()
    await deployments.record_success(deployment, revision)

    assert await deployments.remove(G, an_undeploy())
    assert not await deployments.remove(G, an_undeploy())

    assert await deployments.current(G) is None
    assert [summary.guild_id for summary in await deployments.summaries()] == ["2"]
    assert await deployments.latest_success(G, must_be_live=True) is None
    kept = await deployments.latest_success(G)
    assert kept is not None
    assert kept.revision_id == revision.revision_id
    deployment, revision = make_pair()
    recorded = await deployments.record_success(deployment, revision)
    assert recorded.created_at == recorded.updated_at
    live = await deployments.latest_success(G, must_be_live=True)
    assert live is not None
    assert live.revision_id == revision.revision_id


async def test_given_more_revisions_than_are_kept_then_the_oldest_of_their_kind_go(
    few_revisions: DeploymentStore, make_pair: MakePair
) -> None:
    base = None
    for number in range(6):
        deployment, good = make_pair(bundle=f"good {number}", base_revision_id=base)
        await few_revisions.record_success(deployment, good)
        base = good.revision_id
        await few_revisions.record_failure(make_pair(bundle=f"bad {number}", status="failed")[1])
        await few_revisions.record_success(*make_pair(guild="2"))

    kept = await few_revisions.history(G, 100, include_bundle=True)

    assert [known.bundle for known in kept if known.status == "success"] == ["good 5", "good 4", "good 3", "good 2"]
    failed = [known for known in kept if known.status == "failed"]
    assert [known.bundle for known in failed] == ["bad 5", "bad 4", "bad 3", ""], (
        "what failed long ago is not kept whole"
    )
    assert [known.source_map is None for known in failed] == [False, False, False, True]
    assert failed[-1].files is not None
    bases = [known.base_revision_id for known in kept if known.status == "success"]
    assert [known is None for known in bases] == [False, False, False, True], "its base is gone"
    assert len(await few_revisions.history(GuildId("2"), 100)) == 4


async def test_given_large_revisions_when_paged_then_a_page_ends_before_it_is_too_large(
    deployments: DeploymentStore, make_pair: MakePair
) -> None:
    for number in range(4):
        await deployments.record_success(*make_pair(bundle=str(number) * 1000))

    def bundles(page: Sequence[Revision]) -> list[str]:
        return [(known.bundle or "")[:1] for known in page]

    both = await deployments.history(G, 10, include_bundle=True, max_bytes=5000)
    tiny = await deployments.history(G, 10, include_bundle=True, max_bytes=10)
    bare = await deployments.history(G, 10, include_files=False, max_bytes=10)

    assert bundles(both) == ["3", "2"]
    assert bundles(tiny) == ["3"]
    assert len(bare) == 4
    assert all(known.files is None and known.source_map is None for known in bare)
    assert both[-1].deployed_at is not None
    cursor = RevisionCursor(deployed_at=both[-1].deployed_at, revision_id=both[-1].revision_id)
    rest = await deployments.history(G, 10, cursor, include_bundle=True, max_bytes=5000)
    assert bundles(rest) == ["1", "0"]
