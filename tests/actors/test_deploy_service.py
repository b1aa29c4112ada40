from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from flora.actors.compile_cache import Script
from flora.actors.deploy_service import DeployService
from flora.actors.guild_scripts import MAX_WAITING_PER_GUILD, STORE_TRIES
from flora.messages.audit import AuditLine
from flora.messages.deployment import (
    Compiled,
    Deploy,
    DeployActor,
    Deployment,
    GetRevision,
    ListRevisions,
    Revision,
    RollBack,
    SourceFile,
    Undeploy,
)
from flora.messages.errors import (
    BadRequest,
    BundleFailed,
    FloraError,
    LoadFailed,
    MailboxFull,
    NotFound,
    ShuttingDown,
    StorageError,
    TimedOut,
    Unavailable,
    WorkerGone,
)
from flora.messages.ids import GuildId, ReqId
from flora.storage.memory import MemoryAuditLog, MemoryDeploymentStore
from flora.storage.ports import Recorded

G = GuildId("1")
STARTER = Script(
    entry="src/main.ts", files=(SourceFile(path="src/main.ts", contents="starter"),), bundle=None, source_map=None
)


@dataclass
class FakeHost:
    """Compiles by copying; runs by remembering. What a script says decides how its load ends."""

    running: dict[GuildId, str] = field(default_factory=dict)
    compiled: list[str] = field(default_factory=list)
    loads: list[tuple[GuildId, str, bool]] = field(default_factory=list)
    told_stored: list[tuple[GuildId, str]] = field(default_factory=list)
    gate: asyncio.Event | None = None  # loads wait for it
    under_way: int = 0
    most_under_way: int = 0

    async def compile(self, guild_id: GuildId, script: Script) -> Compiled:
        text = script.bundle if script.bundle is not None else (script.files or ())[0].contents
        self.compiled.append(text)
        if "syntax error" in text and script.bundle is not None:
            raise LoadFailed("Unexpected token (bundle.js:1:1)")
        if "syntax error" in text:
            raise BundleFailed(
                "failed to parse src/main.ts: 1:1 unexpected token", file="src/main.ts", line=1, column=1
            )
        return Compiled(script=text, source_map='{"version":3}' if script.files else None)

    async def load(self, guild_id: GuildId, compiled: Compiled, *, restore: bool) -> None:
        self.loads.append((guild_id, compiled.script, restore))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await (self.gate.wait() if self.gate and "waits" in compiled.script else asyncio.sleep(0))
        finally:
            self.under_way -= 1
        if "throws" in compiled.script:
            raise LoadFailed("ReferenceError: x is not defined\n    at src/main.ts:3:1")
        self.running[guild_id] = compiled.script
        if "silent" in compiled.script:
            raise TimedOut("no answer to LoadGuild within 100 s")

    def stored(self, guild_id: GuildId) -> None:
        self.told_stored.append((guild_id, self.running.get(guild_id, "")))

    async def unload(self, guild_id: GuildId) -> None:
        self.running.pop(guild_id, None)


class FailingStore(MemoryDeploymentStore):
    """Fails as told, before or after it did what was asked."""

    def __init__(self) -> None:
        self.audit = MemoryAuditLog()
        super().__init__(audit=self.audit)
        self.record_error: FloraError | None = None
        self.commit_anyway = False
        self.read_errors: list[FloraError] = []

    async def record_success(
        self, deployment: Deployment, revision: Revision, audit: AuditLine | None = None
    ) -> Recorded:
        if self.record_error is None:
            return await super().record_success(deployment, revision, audit)
        if self.commit_anyway:
            await super().record_success(deployment, revision, audit)
        raise self.record_error

    async def revision(self, guild_id: GuildId, revision_id: str, *, include_bundle: bool = False) -> Revision | None:
        if self.read_errors:
            raise self.read_errors.pop()
        return await super().revision(guild_id, revision_id, include_bundle=include_bundle)

    async def current(self, guild_id: GuildId) -> Deployment | None:
        if self.read_errors:
            raise self.read_errors.pop()
        return await super().current(guild_id)


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
def store() -> FailingStore:
    return FailingStore()


@pytest.fixture
def service(host: FakeHost, store: FailingStore) -> DeployService:
    return make_service(host, store)


def make_service(host: FakeHost, store: MemoryDeploymentStore, **options: Any) -> DeployService:
    settings: dict[str, Any] = {
        "max_script_bytes": 100,
        "workers": 1,
        "starter": lambda: STARTER,
        "sleep": lambda _: asyncio.sleep(0),
    }
    return DeployService(store, host, **(settings | options))


def a_deploy(text: str = "v1", guild: str = "1", **changes: Any) -> Deploy:
    fields: dict[str, Any] = {
        "req_id": ReqId(uuid.uuid4().hex),
        "guild_id": GuildId(guild),
        "entry": "src/main.ts",
        "files": (SourceFile(path="src/main.ts", contents=text),),
        "bundle": None,
        "source_map": None,
        "source": "cli",
        "actor": DeployActor(kind="token", user_id="7", username="ann"),
    }
    return Deploy(**(fields | changes))


async def settle(service: DeployService) -> None:
    """Lets the service's own tasks finish."""
    while service._steps.tasks:
        await asyncio.gather(*service._steps.tasks)


# Going back, and going away


def a_rollback(revision_id: str, guild: str = "1") -> RollBack:
    return RollBack(
        req_id=ReqId("r"),
        guild_id=GuildId(guild),
        revision_id=revision_id,
        source="api",
        actor=DeployActor(kind="session", user_id="8", username="bob"),
    )


def an_undeploy(guild: str = "1") -> Undeploy:
    return Undeploy(
        req_id=ReqId("u"), guild_id=GuildId(guild), source="cli", actor=DeployActor(kind="token", user_id="7")
    )


def a_page(limit: int = 25, **changes: Any) -> ListRevisions:
    return ListRevisions(**({"req_id": ReqId("h"), "guild_id": G, "limit": limit} | changes))


async def test_given_two_deploys_when_rolled_back_then_the_first_one_runs_as_a_new_revision(
    service: DeployService, host: FakeHost, store: FailingStore
) -> None:
    more = (SourceFile(path="src/main.ts", contents="v2"), SourceFile(path="src/util.ts", contents=""))
    await service.deploy(a_deploy("v1", build_id="b-1"))
    await service.deploy(a_deploy(files=more))
    second, first = await store.history(G, 10, include_bundle=True)

    answer = await service.roll_back(a_rollback(first.revision_id))

    assert host.running[G] == first.bundle
    current = await store.current(G)
    assert current is not None
    assert (current.bundle, current.files) == (first.bundle, first.files)
    assert answer["id"] not in {first.revision_id, second.revision_id}
    assert (answer["status"], answer["deploy_source"], answer["base_revision_id"]) == (
        *("success", "api", second.revision_id),
    )
    assert answer["actor"] == {"actor_type": "session", "user_id": "8", "username": "bob"}
    assert answer["change_summary"] == {"added_files": 0, "removed_files": 1, "modified_files": 1}
    assert answer["files"] == [{"path": "src/main.ts", "contents": "v1"}]
    assert not {"bundle", "build_id", "error_message"} & set(answer)
    assert answer == (await service.history(a_page(1)))["revisions"][0]
    (line, *_) = await store.audit.page(1)
    assert (line.action, line.target, line.details["rolled_back_to"]) == (
        *("deploy.rollback", answer["id"], first.revision_id),
    )


async def test_given_what_runs_when_rolled_back_to_it_then_it_is_deployed_again(
    service: DeployService, host: FakeHost, store: FailingStore
) -> None:
    await service.deploy(a_deploy(bundle="v1", files=None))
    (only,) = await store.history(G, 10)

    await service.roll_back(a_rollback(only.revision_id))

    assert [script for _, script, _ in host.loads] == ["v1", "v1"]
    assert len(await store.history(G, 10)) == 2


async def test_given_no_such_revision_or_a_failed_one_when_rolled_back_then_it_is_refused_in_fixed_words(
    service: DeployService, store: FailingStore
) -> None:
    await service.deploy(a_deploy("v1", guild="2"))
    with pytest.raises(LoadFailed):
        await service.deploy(a_deploy("throws"))
    (others,) = await store.history(GuildId("2"), 1)
    (failed,) = await store.history(G, 1)

    with pytest.raises(NotFound, match=r"^Deployment revision not found$"):
        await service.roll_back(a_rollback(others.revision_id))
    with pytest.raises(BadRequest, match=r"^Rollback target must be a successful revision$"):
        await service.roll_back(a_rollback(failed.revision_id))


async def test_given_an_earlier_script_that_no_longer_loads_when_rolled_back_then_the_attempt_is_kept(
    service: DeployService, host: FakeHost, store: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.deploy(a_deploy(bundle="v1", files=None))
    (first,) = await store.history(G, 1)
    await service.deploy(a_deploy(bundle="v2", files=None))

    async def load(guild_id: GuildId, compiled: Compiled, *, restore: bool) -> None:
        raise LoadFailed("ReferenceError: gone")

    monkeypatch.setattr(host, "load", load)
    with pytest.raises(LoadFailed, match="gone"):
        await service.roll_back(a_rollback(first.revision_id))

    assert host.running == {G: "v2"}
    newest = (await store.history(G, 1))[0]
    assert (newest.status, newest.error_message) == ("failed", "ReferenceError: gone")
    assert (await store.audit.page(1))[0].details["rolled_back_to"] == first.revision_id


async def test_given_a_deployment_when_undeployed_then_nothing_runs_and_a_rollback_brings_it_back(
    service: DeployService, host: FakeHost, store: FailingStore
) -> None:
    await service.deploy(a_deploy("v1"))
    (first,) = await store.history(G, 10)

    answer = await service.undeploy(an_undeploy())

    assert answer == {"guild_id": "1", "undeployed": True}
    assert host.running == {}
    assert service.wanted() == ()
    assert await store.current(G) is None
    with pytest.raises(NotFound, match="Deployment not found"):
        await service.describe(G, include_bundle=False)
    with pytest.raises(NotFound, match="Deployment not found"):
        await service.undeploy(an_undeploy())
    (line, _) = await store.audit.page(10)
    assert (line.action, line.target) == ("deploy.undeploy", first.revision_id)
    await service.joined(G)
    assert host.running == {}, "whoever undeployed does not want the starter"
    await service.roll_back(a_rollback(first.revision_id))
    assert host.running[G].startswith("v1")


async def test_given_a_store_that_refuses_when_undeployed_then_the_script_runs_again(
    service: DeployService, host: FakeHost, store: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.deploy(a_deploy("v1"))

    async def refuse(*_: Any) -> bool:
        raise StorageError("disk is sad")

    monkeypatch.setattr(store, "remove", refuse)
    with pytest.raises(StorageError, match="could not be removed; the previous one runs again: disk is sad"):
        await service.undeploy(an_undeploy())

    assert host.running[G].startswith("v1")
    assert service.wanted() == (G,)


@pytest.mark.parametrize("removed", [True, False])
async def test_given_a_removal_whose_answer_was_lost_then_what_runs_is_what_is_stored(
    service: DeployService, host: FakeHost, store: FailingStore, monkeypatch: pytest.MonkeyPatch, removed: bool
) -> None:
    await service.deploy(a_deploy("v1"))
    remove = store.remove

    async def answer_lost(guild_id: GuildId, audit: AuditLine) -> bool:
        if removed:
            await remove(guild_id, audit)
        raise Unavailable("the connection broke")

    monkeypatch.setattr(store, "remove", answer_lost)
    if removed:
        await service.undeploy(an_undeploy())
    else:
        with pytest.raises(StorageError):
            await service.undeploy(an_undeploy())

    assert (G in host.running) == (await store.current(G) is not None) == (not removed)


async def test_given_a_removal_that_nobody_can_tell_the_end_of_then_both_agree_once_the_store_is_back(
    service: DeployService, host: FakeHost, store: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.deploy(a_deploy("v1"))
    remove = store.remove

    async def answer_lost(guild_id: GuildId, audit: AuditLine) -> bool:
        await remove(guild_id, audit)
        store.read_errors = [Unavailable("away")] * (STORE_TRIES + 2)
        raise Unavailable("the connection broke")

    monkeypatch.setattr(store, "remove", answer_lost)
    with pytest.raises(StorageError):
        await service.undeploy(an_undeploy())
    await settle(service)

    assert host.running == {}
    assert service.wanted() == ()


async def test_given_a_history_when_paged_then_it_says_whether_there_is_more(
    service: DeployService, store: FailingStore
) -> None:
    for number in range(3):
        await service.deploy(a_deploy(f"v{number}"))
    newest = (await store.history(G, 1))[0]
    assert newest.deployed_at is not None

    first = await service.history(a_page(1, include_bundle=True))
    rest = await service.history(a_page(2, before=(newest.deployed_at, newest.revision_id), include_files=False))

    assert (first["more"], rest["more"]) == (True, False)
    assert first["revisions"][0]["id"] == newest.revision_id
    assert first["revisions"][0]["bundle"].startswith("v2")
    assert first["revisions"][0]["deployed_at"].endswith("+00:00")
    assert [row.get("base_revision_id") is None for row in rest["revisions"]] == [False, True]
    assert not any({"files", "source_map", "bundle"} & set(row) for row in rest["revisions"])


async def test_given_a_revision_when_asked_for_then_only_its_own_guild_sees_it(
    service: DeployService, store: FailingStore
) -> None:
    await service.deploy(a_deploy("v1"))
    (only,) = await store.history(G, 1)

    shown = await service.revision(GetRevision(req_id=ReqId("g"), guild_id=G, revision_id=only.revision_id))

    assert shown == (await service.history(a_page()))["revisions"][0]
    with pytest.raises(NotFound, match="Deployment revision not found"):
        await service.revision(GetRevision(req_id=ReqId("g"), guild_id=GuildId("2"), revision_id=only.revision_id))


# Deploying


async def test_given_deploys_then_each_attempt_is_in_the_audit_log_by_its_revision(
    service: DeployService, store: FailingStore
) -> None:
    await service.deploy(a_deploy("v1"))
    with pytest.raises(LoadFailed):
        await service.deploy(a_deploy("throws"))

    failed, created = await store.audit.page(10)
    assert [(line.action, line.guild_id, line.actor.username) for line in (created, failed)] == [
        ("deploy.create", G, "ann"),
        ("deploy.fail", G, "ann"),
    ]
    assert [failed.target, created.target] == [known.revision_id for known in await store.history(G, 10)]
    assert created.details == {"entry": "src/main.ts", "source": "cli"}
    assert failed.details["error"] == "LOAD_FAILED"


async def test_given_a_first_deploy_then_it_runs_and_is_stored(
    service: DeployService, host: FakeHost, store: FailingStore
) -> None:
    answer = await service.deploy(a_deploy("v1"))

    assert host.running == {G: "v1"}
    assert host.told_stored == [(G, "v1")]
    assert list(answer) == ["guild_id", "entry", "created_at", "updated_at"]
    assert answer["created_at"] == answer["updated_at"]
    assert answer["created_at"].endswith("+00:00")
    kept = await store.latest_success(G)
    assert kept is not None
    assert (kept.deploy_source, kept.actor.username, kept.base_revision_id) == ("cli", "ann", None)
    assert kept.change_summary is not None
    assert kept.change_summary.added_files == 1


async def test_given_a_second_deploy_then_history_names_its_base_and_what_changed(
    service: DeployService, store: FailingStore
) -> None:
    await service.deploy(a_deploy("v1"))
    first = await store.latest_success(G)
    more = (SourceFile(path="src/main.ts", contents="v2"), SourceFile(path="src/util.ts", contents=""))

    await service.deploy(a_deploy(files=more))

    second = await store.latest_success(G)
    assert first is not None
    assert second is not None
    assert second.base_revision_id == first.revision_id
    summary = second.change_summary
    assert summary is not None
    assert (summary.added_files, summary.removed_files, summary.modified_files) == (1, 0, 1)


async def test_given_sources_that_do_not_compile_then_the_old_one_stays_and_the_attempt_is_kept_without_bundle(
    service: DeployService, host: FakeHost, store: FailingStore
) -> None:
    await service.deploy(a_deploy("v1"))

    with pytest.raises(BundleFailed) as caught:
        await service.deploy(a_deploy("syntax error"))

    assert caught.value.details["line"] == 1
    assert host.running == {G: "v1"}
    assert len(host.loads) == 1
    newest = (await store.history(G, 1, include_bundle=True))[0]
    assert (newest.status, newest.bundle) == ("failed", "")
    assert newest.error_message == "failed to parse src/main.ts: 1:1 unexpected token"
    assert newest.files is not None
    assert newest.files[0].contents == "syntax error"


async def test_given_a_bundle_that_is_no_script_then_the_attempt_is_kept(
    service: DeployService, host: FakeHost, store: FailingStore
) -> None:
    with pytest.raises(LoadFailed, match="Unexpected token"):
        await service.deploy(a_deploy(bundle="syntax error", files=None))

    assert host.loads == []
    newest = (await store.history(G, 1, include_bundle=True))[0]
    assert (newest.status, newest.bundle) == ("failed", "syntax error")


@pytest.mark.scenario("T10", "T18")
async def test_given_a_script_that_throws_then_the_old_one_stays_and_the_attempt_is_kept(
    service: DeployService, host: FakeHost, store: FailingStore
) -> None:
    await service.deploy(a_deploy("v1"))

    with pytest.raises(LoadFailed, match=r"src/main\.ts:3:1"):
        await service.deploy(a_deploy("throws"))

    assert host.running == {G: "v1"}
    current = await store.current(G)
    assert current is not None
    assert current.bundle.startswith("v1")
    newest = (await store.history(G, 1, include_bundle=True))[0]
    assert newest.status == "failed"
    assert newest.error_message == "ReferenceError: x is not defined\n    at src/main.ts:3:1"
    assert newest.bundle is not None
    assert newest.bundle.startswith("throws")


async def test_given_an_error_text_that_cannot_be_stored_then_the_attempt_is_kept_without_it(
    host: FakeHost, store: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def load(guild_id: GuildId, compiled: Compiled, *, restore: bool) -> None:
        raise LoadFailed("a\0b\ud800" + "x" * 100_000)

    monkeypatch.setattr(host, "load", load)

    with pytest.raises(LoadFailed):
        await make_service(host, store).deploy(a_deploy())

    newest = await store.latest(G)
    assert newest is not None
    assert newest.error_message is not None
    assert newest.error_message.startswith("a\N{REPLACEMENT CHARACTER}b?xxx")
    assert len(newest.error_message) < 20_000


@pytest.mark.scenario("T15")
@pytest.mark.parametrize("text", ["x" * 100, "é" * 50])
async def test_given_a_script_of_exactly_the_limit_then_it_is_taken(service: DeployService, text: str) -> None:
    await service.deploy(a_deploy(bundle=text, files=None))
    await service.deploy(a_deploy(text))


@pytest.mark.scenario("T15")
@pytest.mark.parametrize("text", ["x" * 101, "é" * 50 + "x"])
async def test_given_one_byte_more_then_it_is_refused_and_the_attempt_is_kept(
    service: DeployService, store: FailingStore, text: str
) -> None:
    for request in (a_deploy(bundle=text, files=None), a_deploy(text)):
        with pytest.raises(LoadFailed) as caught:
            await service.deploy(request)
        assert str(caught.value) == "script exceeds size limit (max 100 bytes)"

    assert [revision.status for revision in await store.history(G, 10)] == ["failed", "failed"]


@pytest.mark.parametrize("bad", ["a\0b", "a\ud800b"])
async def test_given_text_that_cannot_be_stored_then_it_is_refused_before_anything_runs(
    service: DeployService, host: FakeHost, bad: str
) -> None:
    for request in (a_deploy(bad), a_deploy(bundle=bad, files=None), a_deploy(entry=bad)):
        with pytest.raises(BundleFailed):
            await service.deploy(request)

    assert host.compiled == []


async def test_given_a_bundle_then_it_is_stored_as_it_was_sent_with_its_map(
    service: DeployService, store: FailingStore
) -> None:
    source_map = SourceFile(path="bundle.js.map", contents="{}")

    await service.deploy(a_deploy(bundle="export {}", source_map=source_map))

    stored = await store.current(G)
    assert stored is not None
    assert (stored.bundle, stored.source_map) == ("export {}", source_map)
    assert stored.files is not None


async def test_given_files_alone_then_the_compiled_script_is_stored_with_its_own_map(
    service: DeployService, store: FailingStore
) -> None:
    await service.deploy(a_deploy("v1", source_map=SourceFile(path="other.map", contents="{}")))

    stored = await store.current(G)
    assert stored is not None
    assert stored.bundle.startswith("v1\n//# sourceMappingURL=data:application/json")
    assert stored.source_map is None


# When storing fails


@pytest.mark.scenario("T24b")
async def test_given_a_store_that_refuses_then_the_previous_script_runs_again(
    service: DeployService, host: FakeHost, store: FailingStore
) -> None:
    await service.deploy(a_deploy("v1"))
    store.record_error = StorageError("storing the deployment of guild 1: the database refused: no more")

    with pytest.raises(StorageError, match="the previous one runs again"):
        await service.deploy(a_deploy("v2"))

    assert host.running[G].startswith("v1")
    assert host.loads[-1][2] is True


@pytest.mark.scenario("T24b")
async def test_given_a_store_that_refuses_the_first_deploy_then_nothing_runs(
    service: DeployService, host: FakeHost, store: FailingStore
) -> None:
    store.record_error = StorageError("no")

    with pytest.raises(StorageError, match="it was unloaded"):
        await service.deploy(a_deploy("v1"))

    assert host.running == {}


async def test_given_a_commit_whose_answer_was_lost_then_the_deploy_succeeds(
    service: DeployService, host: FakeHost, store: FailingStore
) -> None:
    await service.deploy(a_deploy("v1"))
    store.record_error, store.commit_anyway = Unavailable("the connection broke"), True

    answer = await service.deploy(a_deploy("v2"))

    assert host.running == {G: "v2"}
    assert answer["updated_at"] > answer["created_at"]


async def test_given_a_store_that_cannot_say_whether_it_committed_then_both_agree_once_it_can(
    service: DeployService, host: FakeHost, store: FailingStore
) -> None:
    await service.deploy(a_deploy("v1"))
    store.record_error, store.commit_anyway = Unavailable("the connection broke"), True
    reads_before = 1  # the deploy reads the current row before it loads

    async def deploy() -> None:
        with pytest.raises(StorageError, match="the previous one runs again"):
            await service.deploy(a_deploy("v2"))

    current = store.current
    calls = 0

    async def fails_after_first(guild_id: GuildId) -> Deployment | None:
        nonlocal calls
        calls += 1
        if calls == reads_before:
            store.read_errors = [Unavailable("away")] * (STORE_TRIES + 3)
            return await MemoryDeploymentStore.current(store, guild_id)
        return await current(guild_id)

    store.current = fails_after_first  # type: ignore[method-assign]
    await deploy()
    assert host.running[G].startswith("v1")

    await settle(service)

    assert host.running[G].startswith("v2")


async def test_given_no_answer_to_the_load_then_the_previous_script_is_loaded_again(
    service: DeployService, host: FakeHost, store: FailingStore
) -> None:
    await service.deploy(a_deploy("v1"))

    with pytest.raises(TimedOut):
        await service.deploy(a_deploy("silent"))

    assert host.running[G].startswith("v1")
    newest = await store.latest(G)
    assert newest is not None
    assert newest.status == "failed"


async def test_given_a_store_that_is_away_then_nothing_is_loaded(
    service: DeployService, host: FakeHost, store: FailingStore
) -> None:
    store.read_errors = [Unavailable("away")]

    with pytest.raises(Unavailable):
        await service.deploy(a_deploy("v1"))

    assert host.loads == []


# Several at once


async def test_given_two_deploys_of_one_guild_at_once_then_they_happen_one_after_the_other(
    service: DeployService, host: FakeHost, store: FailingStore
) -> None:
    host.gate = asyncio.Event()
    first = asyncio.create_task(service.deploy(a_deploy("v1 waits")))
    await asyncio.sleep(0)
    second = asyncio.create_task(service.deploy(a_deploy("v2")))
    other = await service.deploy(a_deploy("v1", guild="2"))
    assert other["guild_id"] == "2"
    assert not second.done()
    host.gate.set()

    await asyncio.gather(first, second)

    stored = await store.current(G)
    assert stored is not None
    assert host.running[G] == "v2"
    assert stored.bundle.startswith("v2")
    assert host.most_under_way <= 2


async def test_given_many_deploys_at_once_then_what_runs_is_what_is_stored(
    service: DeployService, host: FakeHost, store: FailingStore
) -> None:
    requests = [a_deploy(f"v{n}" if n % 3 else "throws", guild=str(n % 4)) for n in range(24)]

    await asyncio.gather(*(service.deploy(request) for request in requests), return_exceptions=True)

    for guild_id, running in host.running.items():
        stored = await store.current(guild_id)
        assert stored is not None
        assert stored.bundle.partition("\n")[0] == running
    assert len(host.running) == 4


async def test_given_a_long_line_for_one_guild_then_the_next_is_refused_and_other_guilds_are_not(
    service: DeployService, host: FakeHost
) -> None:
    host.gate = asyncio.Event()
    line = [asyncio.create_task(service.deploy(a_deploy("waits"))) for _ in range(MAX_WAITING_PER_GUILD + 1)]
    await asyncio.sleep(0)

    with pytest.raises(MailboxFull):
        await service.deploy(a_deploy("one more"))
    await service.deploy(a_deploy("v1", guild="2"))

    host.gate.set()
    await asyncio.gather(*line)
    await service.deploy(a_deploy("one more"))


async def test_given_an_asker_who_goes_away_then_deploys_behind_it_still_come_to_their_turn(
    service: DeployService, host: FakeHost
) -> None:
    host.gate = asyncio.Event()
    first = asyncio.create_task(service.deploy(a_deploy("v1 waits")))
    await asyncio.sleep(0)
    second = asyncio.create_task(service.deploy(a_deploy("v2")))
    third = asyncio.create_task(service.deploy(a_deploy("v3")))
    await asyncio.sleep(0)

    second.cancel()
    host.gate.set()
    await asyncio.gather(first, third)

    assert host.running[G] == "v3"


# Restoring


@pytest.mark.scenario("T03")
async def test_given_stored_deployments_of_which_one_throws_then_the_others_run_and_it_is_named(
    host: FakeHost, store: FailingStore, caplog: pytest.LogCaptureFixture
) -> None:
    before = make_service(FakeHost(), store)
    for number in range(40):
        await before.deploy(a_deploy(f"v{number}", guild=str(number)))
    stored = await store.current(GuildId("7"))
    assert stored is not None
    store._deployments[GuildId("7")] = replace(stored, bundle="throws")

    outcome = await make_service(host, store).restore()

    assert outcome["restored"] == 39
    assert list(outcome["failed"]) == ["7"]
    assert len(host.running) == 39
    assert "Failed to load deployment for guild 7: ReferenceError" in caplog.text
    assert host.most_under_way <= 4
    assert all(restore for _, _, restore in host.loads)


@pytest.mark.scenario("T06")
async def test_given_more_scripts_that_hang_at_load_than_there_are_places_then_they_delay_nobody(
    host: FakeHost, store: FailingStore
) -> None:
    before = make_service(FakeHost(), store)
    for number in range(30):
        await before.deploy(a_deploy(f"v{number}" if number % 3 else "waits", guild=str(number)))
    host.gate = asyncio.Event()
    service = make_service(host, store, patience_s=0.01)

    outcome = await service.restore()

    assert outcome["restored"] == 20
    assert sorted(map(int, outcome["still_loading"])) == list(range(0, 30, 3))
    assert len(host.running) == 20
    await asyncio.wait_for(service.joined(GuildId("0")), 1)  # the boot goes on to bring up every guild
    host.gate.set()
    await service._scripts.turns.all_done()
    assert len(host.running) == 30
    assert len(host.loads) == 30


async def test_given_a_compiler_with_a_long_line_then_waiting_there_makes_no_stragglers(
    host: FakeHost, store: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        await make_service(FakeHost(), store).deploy(a_deploy(f"v{number}", guild=str(number)))
    one_at_a_time = asyncio.Lock()

    async def compile_slowly(guild_id: GuildId, script: Script) -> Compiled:
        async with one_at_a_time:
            await asyncio.sleep(0.02)
        return await FakeHost.compile(host, guild_id, script)

    monkeypatch.setattr(host, "compile", compile_slowly)

    outcome = await make_service(host, store, patience_s=0.012).restore()

    assert outcome == {"restored": 8, "failed": {}, "still_loading": []}


async def test_given_a_straggler_that_fails_at_last_then_the_log_says_so(
    host: FakeHost, store: FailingStore, caplog: pytest.LogCaptureFixture
) -> None:
    await make_service(FakeHost(), store).deploy(a_deploy("waits"))
    store._deployments[G] = replace(store._deployments[G], bundle="waits, then throws")
    host.gate = asyncio.Event()
    service = make_service(host, store, patience_s=0.01)
    assert (await service.restore())["still_loading"] == [G]

    host.gate.set()
    await service._scripts.turns.all_done()

    assert "Failed to load deployment for guild 1: ReferenceError" in caplog.text


async def test_given_deploys_while_a_restore_is_under_way_then_the_deployed_scripts_stay(
    host: FakeHost, store: FailingStore, eventually: Any
) -> None:
    before = make_service(FakeHost(), store)
    for number in range(1, 13):
        await before.deploy(a_deploy("old waits", guild=str(number)))
    host.gate = asyncio.Event()
    service = make_service(host, store)
    restoring = asyncio.create_task(service.restore())
    await eventually.soon(lambda: len(host.loads) == 4)
    first = asyncio.create_task(service.deploy(a_deploy("new", guild=host.loads[0][0])))
    await service.deploy(a_deploy("new", guild="9"))  # not yet reached: sorted as text, 9 is the last
    assert not first.done(), "one load at a time"

    host.gate.set()
    await restoring
    await first

    assert host.running[GuildId("9")] == host.running[host.loads[0][0]] == "new"
    assert len([load for load in host.loads if load[0] == "9"]) == 1
    assert len(host.running) == 12


async def test_given_stragglers_when_draining_then_nobody_waits_for_them(host: FakeHost, store: FailingStore) -> None:
    await make_service(FakeHost(), store).deploy(a_deploy("waits"))
    host.gate = asyncio.Event()
    service = make_service(host, store, patience_s=0.01)
    await service.restore()

    assert await service.drain(5)
    assert host.running == {}


async def test_given_a_thousand_guilds_with_one_script_then_it_is_compiled_once(
    host: FakeHost, store: FailingStore
) -> None:
    before = make_service(FakeHost(), store)
    for number in range(50):
        await before.deploy(a_deploy("same", guild=str(number)))

    outcome = await make_service(host, store).restore()

    assert outcome == {"restored": 50, "failed": {}, "still_loading": []}
    assert len(host.compiled) <= 4  # those that were under way when the first one ended


async def test_given_a_store_that_is_away_for_a_moment_then_a_reload_waits_for_it(
    service: DeployService, host: FakeHost, store: FailingStore
) -> None:
    await service.deploy(a_deploy("v1"))
    host.running.clear()
    store.read_errors = [Unavailable("away")] * (STORE_TRIES - 1)

    outcome = await service.reload([G, GuildId("404")])

    assert outcome == {"restored": 1, "failed": {"404": "nothing is deployed"}, "still_loading": []}
    assert host.running[G].startswith("v1")


@pytest.mark.parametrize(("times", "restored"), [(2, 1), (100, 0)])
async def test_given_a_guild_that_is_sent_elsewhere_while_it_loads_then_it_is_loaded_there(
    service: DeployService, host: FakeHost, monkeypatch: pytest.MonkeyPatch, times: int, restored: int
) -> None:
    await service.deploy(a_deploy("v1"))
    host.running.clear()
    load, refusals = host.load, [WorkerGone("the guild was moved meanwhile", moved=True)] * times

    async def refused_at_first(guild_id: GuildId, compiled: Compiled, *, restore: bool) -> None:
        if refusals:
            raise refusals.pop()
        await load(guild_id, compiled, restore=restore)

    monkeypatch.setattr(host, "load", refused_at_first)

    outcome = await service.reload([G])

    assert outcome["restored"] == restored
    assert (G in host.running) is bool(restored)


async def test_given_a_worker_that_dies_at_a_load_then_the_script_is_not_loaded_over_and_over(
    service: DeployService, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.deploy(a_deploy("v1"))
    tried: list[GuildId] = []

    async def dies(guild_id: GuildId, compiled: Compiled, *, restore: bool) -> None:
        tried.append(guild_id)
        raise WorkerGone("the worker died while the script loaded")

    monkeypatch.setattr(host, "load", dies)

    outcome = await service.reload([G])

    assert outcome["restored"] == 0
    assert tried == [G]


async def test_given_a_worker_that_dies_between_load_and_store_then_the_new_script_is_loaded_again(
    service: DeployService, host: FakeHost, store: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reloading: list[asyncio.Task[Any]] = []
    record = store.record_success

    async def record_while_the_worker_dies(
        deployment: Deployment, revision: Revision, audit: AuditLine | None = None
    ) -> Recorded:
        host.running.clear()
        reloading.append(asyncio.create_task(service.reload([G])))
        await asyncio.sleep(0)
        return await record(deployment, revision, audit)

    monkeypatch.setattr(store, "record_success", record_while_the_worker_dies)

    await service.deploy(a_deploy("v1"))
    await asyncio.gather(*reloading)

    assert host.running[G].startswith("v1")


# Guilds that come and go


@pytest.mark.scenario("T24")
async def test_given_a_new_guild_that_is_announced_twice_at_once_then_the_starter_is_deployed_once(
    service: DeployService, host: FakeHost, store: FailingStore
) -> None:
    await asyncio.gather(service.joined(G), service.joined(G), service.joined(G))

    assert host.running == {G: "starter"}
    history = await store.history(G, 10)
    assert [(kept.status, kept.deploy_source, kept.actor) for kept in history] == [
        ("success", "bootstrap", DeployActor(kind="system", username="system"))
    ]
    assert len(host.loads) == 1


async def test_given_a_guild_that_runs_when_it_is_announced_again_then_it_is_left_alone(
    service: DeployService, host: FakeHost
) -> None:
    await service.deploy(a_deploy("v1"))

    await service.joined(G)

    assert len(host.loads) == 1


@pytest.mark.scenario("T22")
async def test_given_a_guild_that_leaves_and_comes_back_then_its_own_script_runs_again(
    service: DeployService, host: FakeHost, store: FailingStore
) -> None:
    await service.deploy(a_deploy("v1"))

    await service.left(G)
    assert host.running == {}
    assert await store.current(G) is not None
    assert await service.reload([G]) == {"restored": 0, "failed": {}, "still_loading": []}
    assert host.running == {}

    await service.joined(G)
    assert host.running[G].startswith("v1")
    assert len(await store.history(G, 10)) == 1


async def test_given_a_stored_script_that_does_not_load_then_only_a_deploy_or_a_rejoin_tries_again(
    host: FakeHost, store: FailingStore
) -> None:
    await make_service(FakeHost(), store).deploy(a_deploy("v1"))
    store._deployments[G] = replace(store._deployments[G], bundle="throws")
    service = make_service(host, store)
    await service.restore()

    await service.joined(G)
    assert len(host.loads) == 1
    await service.left(G)
    await service.joined(G)
    assert len(host.loads) == 2
    await service.deploy(a_deploy("v2"))
    await service.joined(G)

    assert host.running == {G: "v2"}
    assert len(host.loads) == 3


async def test_given_a_starter_that_fails_each_time_then_history_says_it_once(
    host: FakeHost, store: FailingStore, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Script(entry="a", files=None, bundle="throws", source_map=None)
    service = make_service(host, store, starter=lambda: broken)

    for _ in range(3):
        await service.joined(G)

    assert len(await store.history(G, 10)) == 1
    assert len(host.loads) == 1 + 2
    assert "Failed to load deployment for guild 1" in caplog.text


# Reading, and the end


async def test_given_a_failed_attempt_then_what_is_shown_is_the_latest_success(service: DeployService) -> None:
    await service.deploy(a_deploy("v1"))
    with pytest.raises(LoadFailed):
        await service.deploy(a_deploy("throws"))

    shown = await service.describe(G, include_bundle=True)

    assert list(shown) == ["guild_id", "created_at", "updated_at", "entry", "files", "bundle"]
    assert shown["created_at"] == shown["updated_at"]
    assert shown["files"] == [{"path": "src/main.ts", "contents": "v1"}]
    assert shown["bundle"].startswith("v1")
    assert "bundle" not in await service.describe(G, include_bundle=False)
    assert [summary["guild_id"] for summary in await service.summaries()] == ["1"]


async def test_given_a_guild_without_deployment_then_it_is_not_found(service: DeployService) -> None:
    with pytest.raises(NotFound):
        await service.describe(G, include_bundle=False)


async def test_given_a_drain_then_what_is_under_way_ends_and_nothing_new_begins(
    service: DeployService, host: FakeHost, store: FailingStore
) -> None:
    host.gate = asyncio.Event()
    under_way = asyncio.create_task(service.deploy(a_deploy("waits")))
    await asyncio.sleep(0)

    assert not await service.drain(0.01)
    with pytest.raises(ShuttingDown):
        await service.deploy(a_deploy("v2"))
    host.gate.set()

    assert await service.drain(5)
    assert under_way.done()
    assert await store.current(G) is not None


# Another deployer died


async def test_given_guilds_that_run_when_a_new_deployer_takes_over_then_they_are_left_alone_and_known(
    service: DeployService, host: FakeHost, store: FailingStore
) -> None:
    await service.deploy(a_deploy("v1"))
    successor = make_service(host, store)
    loads = len(host.loads)

    successor.adopt([G], [])
    await successor.joined(G)
    await settle(successor)

    assert successor.wanted() == (G,)
    assert len(host.loads) == loads
    await successor.left(G)
    assert host.running == {}


async def test_given_a_deploy_cut_off_before_it_was_stored_when_a_new_deployer_takes_over_then_what_is_stored_runs(
    service: DeployService, host: FakeHost, store: FailingStore
) -> None:
    await service.deploy(a_deploy("v1"))
    other = GuildId("2")
    host.running |= {G: "never stored", other: "never stored either"}
    successor = make_service(host, store)

    successor.adopt([G, other], [G, other])
    await settle(successor)

    assert set(host.running) == {G}
    assert host.running[G].startswith("v1")


async def test_given_guilds_that_came_and_went_meanwhile_when_the_new_deployer_hears_the_list_then_it_catches_up(
    service: DeployService, host: FakeHost, store: FailingStore
) -> None:
    left, came, stays = GuildId("1"), GuildId("2"), GuildId("3")
    for guild_id in (left, stays):
        await service.deploy(a_deploy("v1", guild_id))
    successor = make_service(host, store)
    successor.adopt([left, stays], [])

    await successor.present([stays], complete=False)
    assert set(host.running) == {left, stays}
    await successor.present([came, stays], complete=True)

    assert set(host.running) == {came, stays}
    assert set(successor.wanted()) == {came, stays}
