"""Uploaded files, kept in memory up to a total size; the oldest go first."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from typing import Any

from flora.http.simulator.errors import ApiError, JsonObject
from flora.http.simulator.snowflakes import SnowflakeFactory


@dataclass(frozen=True, slots=True)
class Upload:
    """One part `files[n]` of a multipart request."""

    index: str
    filename: str
    content: bytes
    content_type: str | None


class Attachments:
    """Stores uploads and makes attachment objects of them."""

    def __init__(self, ids: SnowflakeFactory, max_bytes: int, max_stored_bytes: int) -> None:
        self._ids = ids
        self._max_bytes = max_bytes
        self._max_stored_bytes = max_stored_bytes
        self._stored_bytes = 0
        self._contents: dict[str, tuple[str, bytes]] = {}

    def content(self, attachment_id: str) -> tuple[str, bytes] | None:
        """Media type and bytes, while they are kept."""
        return self._contents.get(attachment_id)

    def attach(self, uploads: list[Upload], declared: Any, base_url: str, channel_id: str) -> list[JsonObject]:
        """Stores uploads.

        Args:
            declared: The body's `attachments`: names and descriptions by the index of the file.

        Raises:
            ApiError: 40005 for a file that is too large.
        """
        listed = declared if isinstance(declared, list) else []
        by_index = {str(d.get("id")): d for d in listed if isinstance(d, dict)}
        return [self._store(upload, by_index.get(upload.index, {}), base_url, channel_id) for upload in uploads]

    def _store(self, upload: Upload, declared: JsonObject, base_url: str, channel_id: str) -> JsonObject:
        if len(upload.content) > self._max_bytes:
            raise ApiError(413, 40005, "Request entity too large")
        filename = str(declared.get("filename") or upload.filename)
        guessed = mimetypes.guess_type(filename)[0] or "application/octet-stream"
        attachment_id = self._ids.next()
        self._contents[attachment_id] = (guessed, upload.content)
        self._stored_bytes += len(upload.content)
        while self._stored_bytes > self._max_stored_bytes:
            oldest = next(iter(self._contents))
            self._stored_bytes -= len(self._contents.pop(oldest)[1])
        url = f"{base_url}/attachments/{channel_id}/{attachment_id}/{filename}"
        made: JsonObject = {
            "id": attachment_id, "filename": filename, "size": len(upload.content), "url": url, "proxy_url": url,
            "content_type": guessed,
        }  # fmt: skip
        if declared.get("description"):
            made["description"] = declared["description"]
        return made
