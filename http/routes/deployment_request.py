"""The body and header of a deployment request, checked. Texts are part of the API and must not change."""

from __future__ import annotations

from typing import Any, NamedTuple

from flora.http.body import JsonObject, optional_string_field, string_field
from flora.http.errors import UnprocessableBody
from flora.messages.deployment import SourceFile
from flora.messages.errors import BadRequest

SOURCES = ("cli", "webui", "bootstrap", "api", "unknown")


class DeploymentRequest(NamedTuple):
    """What to deploy: a bundle, files, or both (then the bundle runs and the files are kept to be shown)."""

    entry: str
    files: tuple[SourceFile, ...] | None
    bundle: str | None
    source_map: SourceFile | None
    build_id: str | None


def parse_deployment(body: JsonObject) -> DeploymentRequest:
    """Reads and checks a deployment request. Unknown fields are ignored; null counts as absent.

    Raises:
        UnprocessableBody: a field is missing or of the wrong type.
        BadRequest: a value is not allowed.
    """
    entry = string_field(body, "entry")
    files = _files(body.get("files"))
    bundle = optional_string_field(body, "bundle")
    source_map = None if body.get("source_map") is None else _file(body["source_map"], "source_map.")
    build_id = optional_string_field(body, "build_id")
    request = DeploymentRequest(entry, files, bundle, source_map, build_id)
    _check(request)
    _check_storable(request)
    return request


def parse_source(header: str | None) -> str:
    """`x-flora-deploy-source`: how the deployment was made, by the client's own word; absent is `unknown`.

    Raises:
        BadRequest: it is none of the known ones.
    """
    if header is None:
        return "unknown"
    if header not in SOURCES:
        raise BadRequest(f"invalid x-flora-deploy-source: must be one of {', '.join(SOURCES)}")
    return header


def _files(value: Any) -> tuple[SourceFile, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise UnprocessableBody("`files` must be a list", field="files")
    return tuple(_file(item, "files[].") for item in value)


def _file(value: Any, where: str) -> SourceFile:
    if not isinstance(value, dict):
        name = where.rstrip(".")
        raise UnprocessableBody(f"`{name}` must be an object", field=name)
    return SourceFile(path=string_field(value, "path", where), contents=string_field(value, "contents", where))


def _check(request: DeploymentRequest) -> None:
    _refuse_blank(request.entry, "entry")
    if request.files is not None and not request.files:
        raise BadRequest("`files` must not be empty", field="files")
    for file in request.files or ():  # contents may be blank: an empty module is a module
        _refuse_blank(file.path, "files[].path")
    if request.files is None:
        if request.bundle is None:
            raise BadRequest("Either `files` or `bundle` is required")
        _refuse_blank(request.bundle, "bundle")
    if request.source_map is not None:
        _refuse_blank(request.source_map.path, "source_map.path")
        _refuse_blank(request.source_map.contents, "source_map.contents")
        if not request.source_map.path.endswith(".map"):
            raise BadRequest("`source_map.path` must end with `.map`", field="source_map.path")


def _refuse_blank(value: str, field: str) -> None:
    if not value.strip():
        raise BadRequest(f"`{field}` must not be empty", field=field)


def _check_storable(request: DeploymentRequest) -> None:
    """Postgres keeps no NUL in text or JSON; saying so here is clearer than a storage error later."""
    texts = [("entry", request.entry), ("bundle", request.bundle or ""), ("build_id", request.build_id or "")]
    for file in (*(request.files or ()), *([request.source_map] if request.source_map else [])):
        texts += [("path", file.path), (file.path, file.contents)]
    for field, text in texts:
        if "\0" in text:
            raise BadRequest(f"`{field[:200]}` must not contain NUL characters", field=field[:200])
