"""Every error that can cross a border, as one tree.

    FloraError
    ├── RequestError    the caller's fault; changing the request helps
    │   ├── BadRequest · Unauthorized · Forbidden · NotFound · Conflict · TooLarge
    │   │   └── KvQuotaExceeded (a TooLarge)
    │   ├── KvRateLimited
    │   ├── ConfigError
    │   └── BundleFailed
    ├── GuestError      the script's fault
    │   ├── LoadFailed · LoadTimedOut · HeapExhausted
    │   └── ScopeForbidden · LimitReached
    ├── StorageError    Postgres, Redis or a file said no
    ├── DiscordError    Discord said no
    │   └── DiscordRateLimited
    ├── Unavailable     try again: something is starting, restarting, full or gone
    │   ├── WorkerGone · MailboxFull · ShuttingDown · TimedOut
    └── BugError        ours

Inside a process they are raised; across actors they travel as `Failed(code, message, details)`; over HTTP as
`{"message", "code", "details"}`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from flora.messages.base import Failed
from flora.messages.ids import ReqId


class FloraError(Exception):
    """Base of flora's own errors. `str(error)` is one sentence for a person; `details` is plain data."""

    code: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details: dict[str, Any] = details

    def as_failed(self, req_id: ReqId) -> Failed:
        """The reply that carries this error to another actor."""
        return Failed(req_id=req_id, code=self.code, message=str(self), details=self.details)


class RequestError(FloraError):
    """The caller's fault."""

    code = "REQUEST_ERROR"


class BadRequest(RequestError):
    """Malformed or contradictory input."""

    code = "BAD_REQUEST"


class Unauthorized(RequestError):
    """Nobody is logged in, or the credential is not valid."""

    code = "UNAUTHORIZED"


class Forbidden(RequestError):
    """Known caller, not allowed to do this."""

    code = "FORBIDDEN"


class NotFound(RequestError):
    """The thing named does not exist."""

    code = "NOT_FOUND"


class Conflict(RequestError):
    """The thing is in a state that does not allow this."""

    code = "CONFLICT"


class TooLarge(RequestError):
    """Over a size limit."""

    code = "TOO_LARGE"


class KvQuotaExceeded(TooLarge):
    """The write would take a key-value store, or all of a guild's, over its total size."""

    code = "KV_QUOTA_EXCEEDED"


class KvRateLimited(RequestError):
    """Too many writes to a key-value store, or exports, within a while; `details` has retry_after_s."""

    code = "KV_RATE_LIMITED"


class ConfigError(RequestError):
    """A setting is missing or wrong; names the key and the environment variable."""

    code = "CONFIG_ERROR"


class BundleFailed(RequestError):
    """The sources could not be turned into one script; `details` may have file, line, column."""

    code = "BUNDLE_FAILED"


class GuestError(FloraError):
    """The script's fault."""

    code = "GUEST_ERROR"


class LoadFailed(GuestError):
    """Top-level code threw, or the script is too large or malformed."""

    code = "LOAD_FAILED"


class LoadTimedOut(GuestError):
    """Boot or load did not finish within its limit; the isolate was closed."""

    code = "LOAD_TIMED_OUT"


class HeapExhausted(GuestError):
    """The isolate reached its heap limit; the run was ended."""

    code = "OUT_OF_MEMORY"


class ScopeForbidden(GuestError):
    """The script named a guild, channel or webhook that is not its own."""

    code = "SCOPE_FORBIDDEN"


class LimitReached(GuestError):
    """The script asked for more than its share of something; `limit` names the setting."""

    code = "LIMIT_REACHED"


class StorageError(FloraError):
    """Postgres, Redis or a file refused or failed."""

    code = "STORAGE_ERROR"


class DiscordError(FloraError):
    """Discord answered with an error; `details` has status and discord_code."""

    code = "DISCORD_HTTP_ERROR"


class DiscordRateLimited(DiscordError):
    """The request could not leave or finish within its limit because of rate limits."""

    code = "DISCORD_RATE_LIMITED"


class Unavailable(FloraError):
    """Try again later."""

    code = "UNAVAILABLE"


class WorkerGone(Unavailable):
    """The worker that owned the guild died; it is being restored."""

    code = "WORKER_GONE"


class MailboxFull(Unavailable):
    """A bounded queue is full."""

    code = "MAILBOX_FULL"


class ShuttingDown(Unavailable):
    """The system is going down and takes nothing new."""

    code = "SHUTTING_DOWN"


class TimedOut(Unavailable):
    """Another part of the system did not answer within the limit."""

    code = "TIMED_OUT"


class BugError(FloraError):
    """Our own fault; the process log has the details."""

    code = "INTERNAL"


def _tree(root: type[FloraError]) -> dict[str, type[FloraError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


def error_from(failed: Failed) -> FloraError:
    """The exception that a `Failed` stands for, to be raised on the receiving side."""
    kind = _tree(FloraError).get(failed.code, BugError)
    return kind(failed.message, **dict(failed.details))
