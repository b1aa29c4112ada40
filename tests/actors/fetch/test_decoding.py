"""Bodies, packed and plain, within their limit."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flora.actors.fetch.decoding import BodyReader, NotDecodable, TooLarge

PACKERS = {
    "": lambda data: data,
    "identity": lambda data: data,
    "gzip": gzip.compress,
    "X-GZIP": gzip.compress,
    "deflate": zlib.compress,
    " deflate ": lambda data: zlib.compress(data)[2:-4],
}


def read(encoding: str, chunks: list[bytes], max_bytes: int = 1000) -> bytes:
    reader = BodyReader(encoding, max_bytes)
    for chunk in chunks:
        reader.feed(chunk)
    return reader.finish()


@given(st.binary(max_size=300), st.sampled_from(sorted(PACKERS)), st.integers(1, 64))
def test_given_any_body_when_it_comes_in_chunks_then_it_is_read_whole(data, encoding, size):
    packed = PACKERS[encoding](data)

    assert read(encoding, [packed[at : at + size] for at in range(0, len(packed), size)]) == data


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate"])
def test_given_a_body_at_its_limit_when_read_then_it_fits_and_one_byte_more_does_not(encoding):
    pack = PACKERS[encoding]

    assert len(read(encoding, [pack(bytes(5000))], 5000)) == 5000
    with pytest.raises(TooLarge):
        read(encoding, [pack(bytes(5001))], 5000)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_given_a_bomb_when_fed_then_it_is_stopped_without_being_unpacked(encoding):
    bomb = PACKERS[encoding](bytes(50_000_000))
    reader = BodyReader(encoding, 100_000)

    with pytest.raises(TooLarge):
        reader.feed(bomb)

    assert len(reader._body) <= 100_000


def test_given_packed_bytes_beyond_the_limit_when_fed_then_they_count_too():
    nothing = gzip.compress(b"") * 10

    with pytest.raises(TooLarge):
        read("gzip", [nothing], len(nothing) - 1)


def test_given_several_gzip_members_when_read_then_they_are_one_body():
    assert read("gzip", [gzip.compress(b"one ") + gzip.compress(b"two") + b"\0\0"]) == b"one two"


@pytest.mark.parametrize(
    ("encoding", "data", "why"),
    [
        ("gzip", b"not gzip at all", "damaged"),
        ("gzip", gzip.compress(b"x" * 100)[:-9], "too early"),
        ("br", b"x", "not asked for"),
        ("gzip, gzip", b"x", "not asked for"),
    ],
)
def test_given_a_body_that_is_not_what_it_says_when_read_then_it_says_why(encoding, data, why):
    with pytest.raises(NotDecodable, match=why):
        read(encoding, [data])
