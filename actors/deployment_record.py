"""From a request to what is stored and shown: change summary, stored bundle, checks, JSON. Pure."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from flora.actors.audit_trail import audit_line
from flora.actors.compile_cache import Script
from flora.messages.audit import AuditLine
from flora.messages.deployment import ChangeSummary, Compiled, Deploy, Deployment, Revision, RollBack, SourceFile
from flora.messages.errors import BugError, BundleFailed, LoadFailed
from flora.storage.ports import DeploymentSummary

MAX_ERROR_CHARS = 16_384  # what a script throws may be megabytes; the beginning is what people read

INLINE_MAP = "//# sourceMappingURL=data:application/json;charset=utf-8;base64,"


def change_summary(new: Sequence[SourceFile] | None, base: Sequence[SourceFile] | None) -> ChangeSummary | None:
    """How many files were added, removed and modified, by path and contents. None: neither side has files."""
    if new is None and base is None:
        return None
    after = {file.path: file.contents for file in new or ()}
    before = {file.path: file.contents for file in base or ()}
    both = after.keys() & before.keys()
    return ChangeSummary(
        added_files=len(after.keys() - both),
        removed_files=len(before.keys() - both),
        modified_files=sum(after[path] != before[path] for path in both),
    )


def as_sent(request: Deploy) -> Script:
    """A deploy as the compiler takes it."""
    return Script(entry=request.entry, files=request.files, bundle=request.bundle, source_map=request.source_map)


def as_stored(deployment: Deployment) -> Script:
    """A stored deployment as the compiler takes it. Its files are for people; what runs is the bundle."""
    return Script(entry=deployment.entry, files=None, bundle=deployment.bundle, source_map=deployment.source_map)


def as_deploy(target: Revision, request: RollBack) -> Deploy:
    """A rollback as the deploy it is: the stored bundle runs, the files come along to be shown."""
    return Deploy(
        req_id=request.req_id,
        trace=request.trace,
        guild_id=target.guild_id,
        entry=target.entry,
        files=target.files,
        bundle=target.bundle,
        source_map=target.source_map,
        source=request.source,
        actor=request.actor,
    )


def stored_bundle(request: Deploy, compiled: Compiled) -> str:
    """The text that is kept as the bundle of a deploy.

    A bundle is kept as it was sent. Of files alone the compiled script is kept with its map in the last line, as
    databases of the Rust runtime have it.
    """
    if request.bundle is not None or compiled.source_map is None:
        return compiled.script if request.bundle is None else request.bundle
    encoded = base64.b64encode(compiled.source_map.encode()).decode("ascii")
    return f"{compiled.script}\n{INLINE_MAP}{encoded}\n"


def check_storable(request: Deploy) -> None:
    """Refuses text that Postgres cannot keep, before anything runs.

    Raises:
        BundleFailed: a NUL character or half a surrogate pair; names the file.
    """
    texts = [("entry", request.entry), ("bundle", request.bundle or ""), ("build_id", request.build_id or "")]
    for file in (*(request.files or ()), *((request.source_map,) if request.source_map else ())):
        texts += [("a file's path", file.path), (file.path, file.contents)]
    for what, text in texts:
        if "\0" in text:
            raise BundleFailed(f"{printable(what)} has a NUL character; write it as \\0", file=printable(what))
        if not _is_unicode(text):
            raise BundleFailed(f"{printable(what)} is not valid Unicode", file=printable(what))


def check_size(request: Deploy, compiled: Compiled, max_script_bytes: int) -> None:
    """Refuses a script above the limit; exactly at the limit is fine.

    Counted is what the author sent where that is one script, else what the compiler made; UTF-8 bytes.

    Raises:
        LoadFailed: too large.
    """
    script = compiled.script if request.bundle is None else request.bundle
    if len(script.encode()) > max_script_bytes:
        raise LoadFailed(f"script exceeds size limit (max {max_script_bytes} bytes)", max_script_bytes=max_script_bytes)


def printable(text: str) -> str:
    """Text that can be stored and shown, whatever a script put into it; cut when it is very long."""
    shown = text if len(text) <= MAX_ERROR_CHARS else text[:MAX_ERROR_CHARS] + " …"
    return shown.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


def audit_of(revision: Revision, action: str, **more: Any) -> AuditLine:
    """The audit line of an attempt to change what a guild runs."""
    details = {"entry": revision.entry, "source": revision.deploy_source, **more}
    return audit_line(revision.guild_id, revision.actor, action, revision.revision_id, details)


def deploy_json(summary: DeploymentSummary) -> dict[str, Any]:
    """The answer to a deploy, and one entry of the list of deployments."""
    return {
        "guild_id": summary.guild_id,
        "entry": summary.entry,
        "created_at": rfc3339(summary.created_at),
        "updated_at": rfc3339(summary.updated_at),
    }


def deployment_json(revision: Revision, *, include_bundle: bool) -> dict[str, Any]:
    """The answer to GET of one deployment: its latest successful revision; both times are that revision's."""
    shown: dict[str, Any] = {
        "guild_id": revision.guild_id,
        "created_at": rfc3339(revision.deployed_at),
        "updated_at": rfc3339(revision.deployed_at),
        "entry": revision.entry,
    }
    if revision.files is not None:
        shown["files"] = [_file_json(file) for file in revision.files]
    if revision.source_map is not None:
        shown["source_map"] = _file_json(revision.source_map)
    if include_bundle:
        shown["bundle"] = revision.bundle
    return shown


def revision_json(revision: Revision, *, include_bundle: bool) -> dict[str, Any]:
    """One attempt to deploy. What is absent is left out, as is the bundle of a failed attempt that is not kept any more."""
    actor = {
        "actor_type": revision.actor.kind,
        "user_id": revision.actor.user_id,
        "username": revision.actor.username,
    }
    summary = revision.change_summary
    optional = {
        "error_message": revision.error_message,
        "build_id": revision.build_id,
        "base_revision_id": revision.base_revision_id,
        "change_summary": asdict(summary) if summary is not None else None,
        "files": None if revision.files is None else [_file_json(file) for file in revision.files],
        "source_map": None if revision.source_map is None else _file_json(revision.source_map),
        "bundle": (revision.bundle or None) if include_bundle else None,
    }
    return {
        "id": revision.revision_id,
        "guild_id": revision.guild_id,
        "entry": revision.entry,
        "status": revision.status,
        "deployed_at": rfc3339(revision.deployed_at),
        "deploy_source": revision.deploy_source,
        "actor": _present(actor),
        **_present(optional),
    }


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def rfc3339(instant: datetime | None) -> str:
    """Like 2026-01-31T12:00:00.000000+00:00."""
    if instant is None:
        raise BugError("a stored record has no time")
    return instant.astimezone(UTC).isoformat(timespec="microseconds")


def _file_json(file: SourceFile) -> dict[str, str]:
    return {"path": file.path, "contents": file.contents}


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
