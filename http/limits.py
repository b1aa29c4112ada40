"""Every limit of the HTTP side, with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Defaults are what serves; tests make them small."""

    max_body_bytes: int = 8_388_608  # any request; a deployment with its sources and map has to fit
    body_s: float = 60  # to receive a body on the routes that have no other limit
    request_s: float = 10  # until the answer's headers, except deploys and streams
    peer_s: float = 8  # to hear from another actor; below request_s, so that the caller learns which one was silent
    lookup_s: float = 3  # for what the answer can do without, such as a user's name
    metrics_s: float = 2  # to hear what an actor counts; one that is silent is left out
    access_ok_s: float = 30  # how long a granted guild permission is remembered
    access_refused_s: float = 3  # a refusal: short, since the caller is told to fix it and try again
    access_session_s: float = 5  # a verdict from a person's own list, which is itself kept for 30 s
    access_entries: int = 10_000  # (user, guild) pairs remembered
    parallel_checks: int = 8  # guild permissions looked up at once for one listing
    streams: int = 512  # log streams open at once
    stream_lines: int = 1_000  # lines kept for a reader that is behind; then the oldest go and are counted
    keep_alive_s: float = 15  # silence on a stream before a comment is sent
    stream_write_s: float = 60  # a reader that takes nothing for so long is cut off
    trace_bytes: int = 24_000_000  # of trace files read for one request, the newest; they are in memory meanwhile
    trace_s: float = 4  # one request reads for so long; below request_s
    trace_searches: int = 8  # that wait for their turn; one reads at a time
