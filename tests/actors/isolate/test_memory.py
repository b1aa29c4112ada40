"""Memory beside V8's heap: typed arrays are counted, refused over the limit, and counted off when they are gone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.service

MB = 1 << 20

KNOWN_METHODS = {
    *(
        "at",
        "buffer",
        "byteLength",
        "byteOffset",
        "constructor",
        "copyWithin",
        "entries",
        "every",
        "fill",
        "filter",
        "find",
    ),
    *(
        "findIndex",
        "findLast",
        "findLastIndex",
        "forEach",
        "includes",
        "indexOf",
        "join",
        "keys",
        "lastIndexOf",
        "length",
    ),
    *("map", "reduce", "reduceRight", "reverse", "set", "slice", "some", "sort", "subarray", "toLocaleString"),
    *("toReversed", "toSorted", "toString", "values", "with"),
}


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MB


@pytest.fixture
def guest(real_host: Any) -> Any:
    """An isolate with 16 MB for typed arrays that has loaded one of tests/guests."""

    def load(name: str) -> Any:
        talk = real_host.open(boot={"guildId": "1", "limits": {"maxBufferBytes": 16 * MB, "maxHeapBytes": 64 * MB}})
        talk.load_guest(name)
        return talk

    return load


def test_given_a_typed_array_bomb_when_it_goes_off_then_it_is_refused_and_the_memory_stays(guest: Any) -> None:
    talk = guest("fills_typed_arrays")
    before_mb = resident_mb()

    talk.send("go")
    answer = talk.answer()

    assert answer["d"][0][1] == "threw"
    assert "the limit is 16 MB of typed arrays" in answer["d"][0][2]
    assert 15 * MB < answer["b"] <= 17 * MB
    assert resident_mb() - before_mb < 40
    assert talk.works()


def test_given_typed_arrays_that_were_dropped_when_collected_then_there_is_room_again(guest: Any) -> None:
    talk = guest("fills_typed_arrays")
    talk.send("go", "drop")
    talk.answer()

    talk.isolate.relieve()

    assert talk.answer()["b"] < MB
    talk.send(*["slowly"] * 10)
    assert {outcome for _, outcome, *_ in talk.answer()["d"]} == {"ok"}


@pytest.mark.parametrize("grow", ["transfer(24 << 20)", "transferToFixedLength(24 << 20)"])
def test_given_a_buffer_when_it_is_transferred_into_a_larger_one_then_that_counts(real_host: Any, grow: str) -> None:
    talk = real_host.open(boot={"guildId": "1", "limits": {"maxBufferBytes": 16 * MB}})
    talk.load(
        f"on('messageCreate', () => {{ console.log(new Uint8Array([7]).buffer.transfer(9)); new ArrayBuffer(5).{grow} }})"
    )

    talk.send("x")

    assert "the limit is 16 MB" in talk.answer()["d"][0][2]


@pytest.mark.parametrize("encoded", ["fromBase64('A'.repeat(1 << 20))", "fromHex('00'.repeat(1 << 20))"])
def test_given_bytes_made_from_text_when_there_are_many_then_they_count(real_host: Any, encoded: str) -> None:
    talk = real_host.open(boot={"guildId": "1", "limits": {"maxBufferBytes": 4 * MB}})
    talk.load(f"const kept = []\non('messageCreate', () => {{ while (true) kept.push(Uint8Array.{encoded}) }})")

    talk.send("x")

    assert "the limit is 4 MB" in talk.answer()["d"][0][2]


def test_given_v8s_own_list_of_ways_to_allocate_when_compared_then_each_is_one_that_is_counted(real_host: Any) -> None:
    """A newer V8 may bring another method that allocates: then this list must be looked at again."""
    talk = real_host.open()
    talk.load(
        """
        const names = (o) => Object.getOwnPropertyNames(o).sort().join(' ')
        const View = Object.getPrototypeOf(Uint8Array)
        const owners = [ArrayBuffer.prototype, ArrayBuffer, View, Uint8Array]
        on('messageCreate', () => console.log(owners.map(names).join('\\n')))
        on('views', () => console.log(names(View.prototype)))
        """
    )
    talk.send("x")

    assert talk.answer()["l"][0][1].split("\n") == [
        "byteLength constructor detached maxByteLength resizable resize slice transfer transferToFixedLength",
        "isView length name prototype",
        "from length name of prototype",
        "BYTES_PER_ELEMENT fromBase64 fromHex length name prototype",
    ]
    talk.isolate.dispatch(b'{"e":[[2,"views",{}]]}')
    assert set(talk.answer()["l"][0][1].split()) == KNOWN_METHODS
