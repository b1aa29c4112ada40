"""Keys in byte order, in lists of bounded length: adding one moves hundreds of others, not all of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator

BUCKET = 512  # a full one has twice as many


class SortedKeys:
    """A set of byte strings with an order. While it is iterated it must not change."""

    def __init__(self, keys: Iterable[bytes] = ()) -> None:
        ordered = sorted(keys)
        self._buckets = [ordered[at : at + BUCKET] for at in range(0, len(ordered), BUCKET)] or [[]]
        self._firsts = [bucket[0] if bucket else b"" for bucket in self._buckets]

    def add(self, key: bytes) -> None:
        """Adds a key that is not there."""
        at = self._bucket_of(key)
        bucket = self._buckets[at]
        insort(bucket, key)
        self._firsts[at] = bucket[0]
        if len(bucket) > 2 * BUCKET:
            self._buckets[at : at + 1] = [bucket[:BUCKET], bucket[BUCKET:]]
            self._firsts[at : at + 1] = [bucket[0], bucket[BUCKET]]

    def remove(self, key: bytes) -> None:
        """Removes a key that is there."""
        at = self._bucket_of(key)
        bucket = self._buckets[at]
        del bucket[bisect_left(bucket, key)]
        if bucket:
            self._firsts[at] = bucket[0]
        elif len(self._buckets) > 1:
            del self._buckets[at], self._firsts[at]

    def after(self, key: bytes, *, inclusive: bool) -> Iterator[bytes]:
        """Ascending, from the first key after `key`, or from itself."""
        at = self._bucket_of(key)
        begin = (bisect_left if inclusive else bisect_right)(self._buckets[at], key)
        yield from self._buckets[at][begin:]
        for bucket in self._buckets[at + 1 :]:
            yield from bucket

    def _bucket_of(self, key: bytes) -> int:
        return max(0, bisect_right(self._firsts, key) - 1)
