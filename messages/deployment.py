"""Front-end → deployer → compiler, router, worker.

Deploy → Ok(value=deployment dict) | Failed; RollBack and Undeploy likewise.   The deployer compiles (Compile → Ok), loads
(LoadGuild to the router, which passes it to the worker as LoadIsolate), and stores; one deploy per guild at a time, with a definite
end whatever the client does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from flora.messages.base import Message, Request
from flora.messages.ids import GuildId
from flora.messages.placement import Placement
from flora.messages.secrets import NO_SECRETS, GuildSecrets


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file of a project or one source map."""

    path: str
    contents: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployActor:
    """Who made a change. `kind` is session, token or system; in the audit log also operator."""

    kind: str
    user_id: str | None = None
    username: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """The script a guild runs, as stored in table `deployments`."""

    guild_id: GuildId
    entry: str
    bundle: str
    files: tuple[SourceFile, ...] | None = None
    source_map: SourceFile | None = None
    created_at: datetime | None = None  # aware UTC; None before it is stored
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSummary:
    """How many files of a revision differ from those of its base revision, compared by path and contents."""

    added_files: int
    removed_files: int
    modified_files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One attempt to deploy, as stored in table `deployment_revisions`. Of failed ones bundle and map are dropped later."""

    revision_id: str  # uuid in its usual text form
    guild_id: GuildId
    entry: str
    bundle: str | None  # None where it was not asked for, empty where it is not kept; never None when it is written
    status: str  # success, failed
    deploy_source: str  # cli, webui, bootstrap, api, unknown
    actor: DeployActor
    files: tuple[SourceFile, ...] | None = None
    source_map: SourceFile | None = None
    deployed_at: datetime | None = None  # aware UTC; None before it is stored
    error_message: str | None = None
    build_id: str | None = None
    base_revision_id: str | None = None
    change_summary: ChangeSummary | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy(Request):
    """Make this the guild's script. At least one of `files` and `bundle` is given; both are checked by the front-end.

    Ok.value: {"guild_id", "entry", "created_at", "updated_at"} (RFC 3339).
    Failed: BUNDLE_FAILED, LOAD_FAILED, LOAD_TIMED_OUT, OUT_OF_MEMORY (failed revision recorded, old
    script still live), STORAGE_ERROR (old script live again), UNAVAILABLE.
    """

    guild_id: GuildId
    entry: str
    files: tuple[SourceFile, ...] | None
    bundle: str | None
    source_map: SourceFile | None
    source: str  # cli, webui, bootstrap, api, unknown
    actor: DeployActor
    build_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RollBack(Request):
    """Make what an earlier revision stored the guild's script again, as a new revision.

    Ok.value: the new revision, as in GET /api/deployments/{guild}/revisions/{id}. Failed: NOT_FOUND, BAD_REQUEST (it is a
    failed one), and as `Deploy`.
    """

    guild_id: GuildId
    revision_id: str
    source: str  # cli, webui, bootstrap, api
    actor: DeployActor


@dataclass(frozen=True, slots=True, kw_only=True)
class Undeploy(Request):
    """Stop the guild's script and forget its deployment; revisions stay. Ok.value: {"guild_id", "undeployed": True}.

    Failed: NOT_FOUND, STORAGE_ERROR and UNAVAILABLE (the script runs again).
    """

    guild_id: GuildId
    source: str
    actor: DeployActor


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRevisions(Request):
    """Ok.value: {"revisions": [as in GetRevision, newest first], "more": whether there are older ones}.

    A page may be shorter than `limit` where code would make it too large for one message.
    """

    guild_id: GuildId
    limit: int
    before: tuple[datetime, str] | None = None  # time and id of the last one seen
    include_bundle: bool = False
    include_files: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class GetRevision(Request):
    """Ok.value: the answer of GET /api/deployments/{guild}/revisions/{id} as a plain dict. Failed: NOT_FOUND."""

    guild_id: GuildId
    revision_id: str
    include_bundle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GetDeployment(Request):
    """Ok.value: the answer of GET /api/deployments/{guild} as a plain dict. Failed: NOT_FOUND."""

    guild_id: GuildId
    include_bundle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListDeployments(Request):
    """Ok.value: [{"guild_id", "entry", "created_at", "updated_at"}, …]; never bundles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreDeployments(Request):
    """Runtime → deployer at boot: load every stored deployment; answered when only those that take long are still under way.

    Ok.value: {"restored": n, "failed": {guild: message}, "still_loading": [guild]}. RestoreProgress comes before it.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreProgress(Message):
    """Deployer → runtime, a few times a second while deployments are restored."""

    total: int
    restored: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BringUpGuilds(Request):
    """Runtime → deployer after READY: answered when each of these guilds runs its script or the starter, or cannot."""

    guild_ids: tuple[GuildId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadGuilds(Request):
    """Router → deployer: these guilds lost their isolate; load their stored deployments again. Ok.value as RestoreDeployments."""

    guild_ids: tuple[GuildId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRunning(Request):
    """Restarted deployer → router. Ok.value: {"running": ids of guilds whose script runs, "unstored": ids of guilds that run, or may run
    soon, a script of which nobody said that it is stored}.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptStored(Message):
    """Deployer → router: what the last LoadGuild of this guild brought is stored now."""

    guild_id: GuildId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListWantedGuilds(Request):
    """Restarted router → deployer: which guilds are to run? Ok.value: tuple of their ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compile(Request):
    """Deployer → compiler. Ok.value: a `Compiled`. Failed: BUNDLE_FAILED with file, line, column where known."""

    guild_id: GuildId
    entry: str
    files: tuple[SourceFile, ...] | None
    bundle: str | None
    source_map: SourceFile | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """What the compiler made. `script` is what an isolate runs: the text between the braces of an async function, strict,
    without import or export; `source_map` maps it to the author's files (version 3 JSON), or None."""

    script: str
    source_map: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadGuild(Request):
    """Deployer → router: run this in the guild's isolate, beside the old one until it has loaded.

    Ok.value: {"worker": id, "replaced": bool}. Failed: LOAD_FAILED, LOAD_TIMED_OUT, OUT_OF_MEMORY, UNAVAILABLE …; the old one stays.
    """

    guild_id: GuildId
    script: str
    source_map: str | None
    restore: bool = False  # True: after a worker died or at boot
    placement: Placement | None = (
        None  # as stored, None: nothing is; the router goes by what it knows if it knows anything
    )
    secrets: GuildSecrets | None = field(
        default=NO_SECRETS, repr=False
    )  # None: they could not be read; see LoadIsolate


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadGuild(Request):
    """Deployer → router: stop the guild's isolate and forget its route. Unknown guild: Ok."""

    guild_id: GuildId
