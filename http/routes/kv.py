"""`/api/kv`: a guild's key-value stores, what is in them, and how full they are.

A key is one segment of the path, percent-encoded: `/` in it is `%2F`. A value is text. What a script stored as another JSON value is given
as its JSON text with `"type": "json"`, and is taken in the same form; without `type` it is a string.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
from aiohttp import web

from flora.http.body import JsonObject, optional_string_field, read_json_object, string_field
from flora.http.deps import DEPS, IDENTITY, TRACE
from flora.http.errors import UnprocessableBody
from flora.http.query import count_parameter
from flora.http.render import json_response
from flora.http.routing import Access, Route, checked_guild_id, guild_id_of
from flora.messages.deployment import DeployActor
from flora.messages.errors import BadRequest, NotFound
from flora.messages.ids import GuildId, ReqId
from flora.messages.kv import (
    KvCall,
    KvCreateStore,
    KvDeleteKey,
    KvDropStore,
    KvEntry,
    KvGetKey,
    KvKey,
    KvListKeys,
    KvListStores,
    KvOperation,
    KvPage,
    KvReadUsage,
    KvSetKey,
    KvSetMetadata,
    KvStoreInfo,
    KvUsage,
    KvValue,
)

DEFAULT_PAGE = 100
MAX_PAGE = 1_000
_STORE_AT, _KEY_AT = (
    4,
    5,
)  # segments of /api/kv/{guild_id}/{store_name}/{key}; in /api/kv/stores/… the store is one further on


async def create_store(request: web.Request) -> web.Response:
    """Makes an empty store, `{"guild_id", "store_name"}`."""
    body = await read_json_object(request)
    guild_id = checked_guild_id(string_field(body, "guild_id"))
    store = string_field(body, "store_name")
    await request.app[DEPS].access.check(request[IDENTITY], guild_id)
    made: KvStoreInfo = await ask_owner(request, guild_id, KvCreateStore(store=store))
    note_change(request, guild_id, "kv.create", store)
    return json_response({"store": _store(guild_id, made)})


async def list_stores(request: web.Request) -> web.Response:
    """The stores of the guild in the query, by name."""
    text = request.query.get("guild_id")
    if text is None:
        raise BadRequest("`guild_id` is required", parameter="guild_id")
    guild_id = checked_guild_id(text)
    await request.app[DEPS].access.check(request[IDENTITY], guild_id)
    found: tuple[KvStoreInfo, ...] = await ask_owner(request, guild_id, KvListStores())
    return json_response([_store(guild_id, info) for info in found])


async def describe_store(request: web.Request) -> web.Response:
    """One store, and how many keys and bytes it has; bytes as the quotas count them."""
    guild_id, store = guild_id_of(request), segment_of(request, _KEY_AT)
    questions = KvListStores(), KvReadUsage(store=store)
    found, usages = await asyncio.gather(*(ask_owner(request, guild_id, question) for question in questions))
    info = next((info for info in found if info.name == store), None)
    if info is None:
        raise NotFound("store not found", store=store)
    usage: KvUsage = usages[store]
    return json_response({"store": _store(guild_id, info), "usage": usage._asdict()})


async def drop_store(request: web.Request) -> web.Response:
    """Deletes a store with all that is in it."""
    guild_id, store = guild_id_of(request), segment_of(request, _KEY_AT)
    await ask_owner(request, guild_id, KvDropStore(store=store))
    note_change(request, guild_id, "kv.drop", store)
    return web.Response()


async def list_keys(request: web.Request) -> web.Response:
    """Keys that begin with `prefix`, in the order of their bytes, after `cursor`."""
    operation = KvListKeys(
        store=segment_of(request, _STORE_AT),
        prefix=request.query.get("prefix", ""),
        cursor=request.query.get("cursor"),
        limit=count_parameter(request, "limit", DEFAULT_PAGE, MAX_PAGE),
    )
    page: KvPage = await ask_owner(request, guild_id_of(request), operation)
    told: dict[str, Any] = {"keys": [_key(key) for key in page.keys], "listComplete": page.list_complete}
    if page.cursor is not None:
        told["cursor"] = page.cursor
    return json_response(told)


async def get_key(request: web.Request) -> web.Response:
    """A value with its expiration and metadata; `{"value": null}` when there is none."""
    store, key = _store_and_key(request)
    found: KvEntry | None = await ask_owner(request, guild_id_of(request), KvGetKey(store=store, key=key))
    return json_response({"value": None} if found is None else _entry(found))


async def set_key(request: web.Request) -> web.Response:
    """Replaces value, expiration and metadata: `{"value", "type"?, "expiration"?, "ttl"?, "metadata"?}`."""
    store, key = _store_and_key(request)
    body = await read_json_object(request)
    operation = KvSetKey(
        store=store,
        key=key,
        value=_value(body),
        expiration=_expiration(body),
        ttl_s=_ttl_s(body),
        metadata=body.get("metadata"),
    )
    await ask_owner(request, guild_id_of(request), operation)
    note_change(request, guild_id_of(request), "kv.put", store, key=key)
    return json_response({"success": True})


async def set_metadata(request: web.Request) -> web.Response:
    """Replaces the metadata, `{"metadata"}`; value and expiration stay."""
    store, key = _store_and_key(request)
    body = await read_json_object(request)
    if "metadata" not in body:
        raise UnprocessableBody("`metadata` is required", field="metadata")
    operation = KvSetMetadata(store=store, key=key, metadata=body["metadata"])
    await ask_owner(request, guild_id_of(request), operation)
    note_change(request, guild_id_of(request), "kv.put_metadata", store, key=key)
    return json_response({"success": True})


async def delete_key(request: web.Request) -> web.Response:
    """Deletes a key; one that is not there is fine."""
    store, key = _store_and_key(request)
    if await ask_owner(request, guild_id_of(request), KvDeleteKey(store=store, key=key)):
        note_change(request, guild_id_of(request), "kv.delete", store, key=key)
    return web.Response()


async def ask_owner(
    request: web.Request, guild_id: GuildId, operation: KvOperation, limit_s: float | None = None
) -> Any:
    """What the worker says that owns the guild's stores.

    Args:
        limit_s: How long to wait; None: as for any other actor; 0: as long as the router lives.
    """
    deps = request.app[DEPS]
    message = KvCall(req_id=ReqId(""), trace=request[TRACE], guild_id=guild_id, operation=operation)
    return await deps.peers.ask("router", message, deps.limits.peer_s if limit_s is None else limit_s)


def note_change(request: web.Request, guild_id: GuildId, action: str, target: str, **details: Any) -> None:
    """Tells the audit log who changed what; never to which value."""
    caller = request[IDENTITY]
    actor = DeployActor(kind=caller.kind, user_id=caller.user_id, username=caller.username)
    request.app[DEPS].audit.record(guild_id, actor, action, target, details)


def segment_of(request: web.Request, index: int) -> str:
    """A segment of the path as it was meant, whatever is encoded in it.

    Raises:
        BadRequest: it is not UTF-8.
    """
    try:
        return unquote_to_bytes(request.rel_url.raw_path.split("/")[index]).decode()
    except UnicodeDecodeError:
        raise BadRequest("the path is not valid UTF-8") from None


def _store_and_key(request: web.Request) -> tuple[str, str]:
    return segment_of(request, _STORE_AT), segment_of(request, _KEY_AT)


def _store(guild_id: GuildId, info: KvStoreInfo) -> dict[str, Any]:
    made_at = info.created_at.isoformat().replace("+00:00", "Z")
    return {
        "id": info.store_id,
        "guild_id": guild_id,
        "store_name": info.name,
        "created_at": made_at,
        "updated_at": made_at,  # of the store, which never changes; not of what is in it
    }


def _key(key: KvKey) -> dict[str, Any]:
    return {"name": key.name} | _extras(key.expiration, key.metadata)


def _entry(entry: KvEntry) -> dict[str, Any]:
    kind = {"type": "json"} if entry.value.is_json else {}
    return {"value": entry.value.text} | kind | _extras(entry.expiration, entry.metadata)


def _extras(expiration: int | None, metadata: Any) -> dict[str, Any]:
    given = {"expiration": expiration, "metadata": metadata}
    return {name: value for name, value in given.items() if value is not None}


def _value(body: JsonObject) -> KvValue:
    text = string_field(body, "value")
    kind = optional_string_field(body, "type") or "string"
    if kind not in {"string", "json"}:
        raise BadRequest('`type` must be "string" or "json"', field="type")
    if kind == "json":
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError as exc:
            raise BadRequest(f"`value` is not valid JSON: {exc}", field="value") from None
    return KvValue(text, kind == "json")


def _expiration(body: JsonObject) -> int | None:
    value = body.get("expiration")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise UnprocessableBody("`expiration` must be a whole number of Unix seconds", field="expiration")
    return value


def _ttl_s(body: JsonObject) -> float | None:
    value = body.get("ttl")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnprocessableBody("`ttl` must be a number of seconds", field="ttl")
    if value <= 0:
        raise BadRequest("`ttl` must be above 0", field="ttl")
    return float(value)


_STORES = "/kv/stores"
_STORE = "/kv/stores/{guild_id}/{store_name}"
_KEYS = "/kv/{guild_id}/{store_name}"
_KEY = "/kv/{guild_id}/{store_name}/{key}"

ROUTES = (
    Route(method="POST", path=_STORES, handler=create_store, access=Access.USER),
    Route(method="GET", path=_STORES, handler=list_stores, access=Access.USER),
    Route(method="GET", path=_STORE, handler=describe_store, access=Access.GUILD_ADMIN),
    Route(method="DELETE", path=_STORE, handler=drop_store, access=Access.GUILD_ADMIN),
    Route(method="GET", path=_KEYS, handler=list_keys, access=Access.GUILD_ADMIN),
    Route(method="GET", path=_KEY, handler=get_key, access=Access.GUILD_ADMIN),
    Route(method="PUT", path=_KEY, handler=set_key, access=Access.GUILD_ADMIN),
    Route(method="DELETE", path=_KEY, handler=delete_key, access=Access.GUILD_ADMIN),
    Route(method="PUT", path=f"{_KEY}/metadata", handler=set_metadata, access=Access.GUILD_ADMIN),
)
