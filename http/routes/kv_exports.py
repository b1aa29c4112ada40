"""`/api/kv/export/{guild_id}`: exports of all of a guild's key-value stores, kept by the worker that owns these.

An export is one file of JSON Lines, compressed with gzip; its lines are described in `flora.storage.kv.export_file`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import hdrs, web

from flora.http.body import optional_string_field, read_json_object
from flora.http.deps import DEPS
from flora.http.render import json_response
from flora.http.routes.kv import ask_owner, note_change
from flora.http.routing import Access, Route, guild_id_of
from flora.messages.errors import FloraError, NotFound, Unavailable
from flora.messages.kv_exports import (
    KvDeleteExport,
    KvExport,
    KvListExports,
    KvMakeExport,
    KvReadExportPart,
    KvRestoreExport,
)

WORK_LIMIT_S = 600.0
"""The owner goes on whoever waits; this ends the waiting where a worker that is never heard of again does not."""


async def make_export(request: web.Request) -> web.Response:
    """Exports all stores as they are at one moment; answered when the file is complete."""
    guild_id = guild_id_of(request)
    made: KvExport = await ask_owner(request, guild_id, KvMakeExport(), WORK_LIMIT_S)
    note_change(request, guild_id, "kv.export", made.backup_id)
    return json_response(_export(made))


async def list_exports(request: web.Request) -> web.Response:
    """The exports that are kept, newest first."""
    found: tuple[KvExport, ...] = await ask_owner(request, guild_id_of(request), KvListExports())
    return json_response([_export(export) for export in found])


async def download(request: web.Request) -> web.StreamResponse:
    """The file of an export."""
    guild_id, backup_id = guild_id_of(request), request.match_info["backup_id"]
    found: tuple[KvExport, ...] = await ask_owner(request, guild_id, KvListExports())
    export = next((export for export in found if export.backup_id == backup_id), None)
    if export is None:
        raise NotFound("export not found", backup_id=backup_id[:100])
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/gzip"})
    response.headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="kv-{guild_id}-{backup_id}.jsonl.gz"'
    response.content_length = export.file_bytes
    try:
        await _send_parts(request, response, export)
    except TimeoutError:
        _abort(request)  # a reader that takes nothing any more
    except Exception:
        if response.prepared:
            _abort(request)  # a body that ends early must not look like a whole one
        raise
    return response


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _send_parts(request: web.Request, response: web.StreamResponse, export: KvExport) -> None:
    sent = 0
    while sent < export.file_bytes:
        question = KvReadExportPart(backup_id=export.backup_id, offset=sent)
        part: bytes = await ask_owner(request, guild_id_of(request), question)
        if not part:
            raise Unavailable("the export has become shorter; try again")
        if not response.prepared:
            await response.prepare(request)
        async with asyncio.timeout(request.app[DEPS].limits.stream_write_s):
            await response.write(part)
        sent += len(part)


async def restore(request: web.Request) -> web.Response:
    """Gives stores what they had, `{"store_name"?}`: one, or all that are in the export. Goes on when the client leaves."""
    guild_id, backup_id = guild_id_of(request), request.match_info["backup_id"]
    store = None
    if request.can_read_body:
        store = optional_string_field(await read_json_object(request), "store_name")
    operation = KvRestoreExport(backup_id=backup_id, store=store)
    try:
        restored = _stores(await ask_owner(request, guild_id, operation, WORK_LIMIT_S))
    except FloraError as exc:
        _note_restored(request, exc.details.get("restored", ()))
        raise
    _note_restored(request, restored)
    return json_response({"restored": restored})


async def delete_export(request: web.Request) -> web.Response:
    """Deletes one export."""
    guild_id, backup_id = guild_id_of(request), request.match_info["backup_id"]
    await ask_owner(request, guild_id, KvDeleteExport(backup_id=backup_id))
    note_change(request, guild_id, "kv.delete_export", backup_id)
    return web.Response()


def _note_restored(request: web.Request, restored: Iterable[Mapping[str, Any]]) -> None:
    details = {"backup_id": request.match_info["backup_id"]}
    for store in restored:
        note_change(request, guild_id_of(request), "kv.restore", store["store_name"], keys=store["keys"], **details)


def _export(export: KvExport) -> dict[str, Any]:
    return {
        "backup_id": export.backup_id,
        "created_at": export.created_at.isoformat().replace("+00:00", "Z"),
        "size": export.file_bytes,
        "stores": _stores(export.stores),
    }


def _stores(stores: tuple[tuple[str, int], ...]) -> list[dict[str, Any]]:
    return [{"store_name": name, "keys": keys} for name, keys in stores]


_ALL = "/kv/export/{guild_id}"
_ONE = "/kv/export/{guild_id}/{backup_id}"

ROUTES = (
    Route(method="POST", path=_ALL, handler=make_export, access=Access.GUILD_ADMIN, timed=False),
    Route(method="GET", path=_ALL, handler=list_exports, access=Access.GUILD_ADMIN),
    Route(method="GET", path=_ONE, handler=download, access=Access.GUILD_ADMIN, timed=False, compressed=False),
    Route(method="DELETE", path=_ONE, handler=delete_export, access=Access.GUILD_ADMIN),
    Route(method="POST", path=f"{_ONE}/restore", handler=restore, access=Access.GUILD_ADMIN, timed=False),
)
