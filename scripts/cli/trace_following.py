"""When a trace that is still being written is worth showing. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from flora.storage.trace_query import Trace, failed, trace_of
from flora.storage.trace_record import TraceRecord

QUIET_S = 1.0  # so long nothing more of it has come
LONGEST_S = 15.0  # and so long at most, however much comes
MOST_REMEMBERED = 20_000  # traces that were shown, so that a late hop shows none twice


@dataclass(slots=True)
class _Open:
    began_s: float
    last_s: float
    hops: list[TraceRecord] = field(default_factory=list)


class Settling:
    """Hops in, traces out when they have come to rest. Seconds are monotonic."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._shown: dict[str, list[TraceRecord]] = {}

    def take(self, hops: Iterable[TraceRecord], now_s: float) -> None:
        """Adds hops, in any order."""
        for hop in hops:
            known = self._shown.get(hop.trace)
            if known is not None and not failed(hop):
                continue  # late, and nothing that anybody needs to hear about
            entry = self._open.get(hop.trace)
            if entry is None:
                entry = self._open[hop.trace] = _Open(now_s, now_s, list(known or ()))
            entry.hops.append(hop)
            entry.last_s = now_s

    def settled(self, now_s: float) -> list[Trace]:
        """Those that have come to rest, in the order in which they began. One that failed afterwards comes again."""
        done = [
            trace_id
            for trace_id, entry in self._open.items()
            if now_s - entry.last_s >= QUIET_S or now_s - entry.began_s >= LONGEST_S
        ]
        traces = []
        for trace_id in done:
            entry = self._open.pop(trace_id)
            by_span = {hop.span: hop for hop in entry.hops}
            self._shown[trace_id] = list(by_span.values())
            traces.append(trace_of(trace_id, by_span.values()))
        for old in list(self._shown)[: len(self._shown) - MOST_REMEMBERED]:
            del self._shown[old]
        return sorted(traces, key=lambda trace: trace.starts_us)
