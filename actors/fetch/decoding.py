"""Compressed bodies, unpacked within a limit. Pure.

A kilobyte can unpack to a megabyte: so the limit is handed to the decompressor itself, not checked when it is too late.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

ACCEPTED = "gzip, deflate"


class TooLarge(Exception):
    """There is more than the limit, packed or unpacked."""


class NotDecodable(Exception):
    """The bytes are not what `Content-Encoding` says, or it says something that nobody asked for."""


class BodyReader:
    """Collects a body chunk by chunk."""

    def __init__(self, encodings: str, max_bytes: int) -> None:
        """`encodings` is the value of `Content-Encoding`, "" for none.

        Raises:
            NotDecodable: an encoding other than those in `ACCEPTED`.
        """
        names = [name.strip().lower() for name in encodings.split(",") if name.strip()]
        self._max_bytes = self._packed_left = max_bytes
        self._body = bytearray()
        self._decoder = _decoder(names)

    def feed(self, chunk: bytes) -> int:
        """The next bytes off the wire. Gives by how many the body grew.

        Raises:
            TooLarge, NotDecodable
        """
        self._packed_left -= len(chunk)
        if self._packed_left < 0:
            raise TooLarge
        before = len(self._body)
        for part in self._decoder.decode(chunk, self._max_bytes - len(self._body)):
            self._body += part
        return len(self._body) - before

    def finish(self) -> bytes:
        """The whole body.

        Raises:
            NotDecodable: packed data ends in the middle.
        """
        if not self._decoder.complete:
            raise NotDecodable("the compressed body ends too early")
        return bytes(self._body)


class _Plain:
    complete = True

    def decode(self, chunk: bytes, _room: int) -> Iterable[bytes]:
        yield chunk


class _Inflate:
    """gzip (also several members in a row) or deflate (with the header it should have, or without, as some servers send it)."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._inflater: zlib._Decompress | None = None
        self.complete = True

    def _begin(self, first: int) -> zlib._Decompress:
        if self._gzip:
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        return zlib.decompressobj(zlib.MAX_WBITS if first & 0x0F == zlib.DEFLATED else -zlib.MAX_WBITS)

    def decode(self, chunk: bytes, room: int) -> Iterable[bytes]:
        """At most `room` bytes, in parts; one more raises TooLarge."""
        rest = chunk
        while rest:
            inflater = self._inflater = self._inflater or self._begin(rest[0])
            try:
                part = inflater.decompress(rest, room + 1)
            except zlib.error as exc:
                raise NotDecodable("the compressed body is damaged") from exc
            room -= len(part)
            if room < 0:
                raise TooLarge
            yield part
            self.complete = inflater.eof
            rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            if inflater.eof:
                self._inflater = None
                if not self._gzip or rest[:2] != b"\x1f\x8b":
                    return  # what follows is padding


def _decoder(names: list[str]) -> _Plain | _Inflate:
    packed = [name for name in names if name != "identity"]
    match packed:
        case []:
            return _Plain()
        case ["gzip" | "x-gzip"]:
            return _Inflate(gzip=True)
        case ["deflate"]:
            return _Inflate(gzip=False)
        case _:
            raise NotDecodable(f"the body is encoded as {', '.join(packed)[:64]}, which was not asked for")
