"""What an isolate has to tell its worker next. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flora.messages.isolate import IsolateReport

JS_TARGET, OUR_TARGET = "flora:js", "flora:runtime"


@dataclass(slots=True)
class Outbox:
    """Collects until a report is due."""

    done: list[tuple[int, str, int]] = field(default_factory=list)
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    fetches: list[tuple[int, Any]] = field(default_factory=list)
    fetches_taken: int = 0
    cancelled: list[int] = field(default_factory=list)
    logs: list[tuple[str, str, str]] = field(default_factory=list)
    handlers_changed: bool = False
    rebuilt: bool = False
    wake_changed: bool = False
    lost: str | None = None

    @property
    def has_news(self) -> bool:
        """Whether a report has to go now."""
        started = self.calls or self.fetches or self.fetches_taken
        return bool(
            self.done or started or self.cancelled or self.logs or self.handlers_changed or self.rebuilt or self.lost
        )

    def failed(self, name: str, text: str) -> None:
        """The line that tells the author of a failed event."""
        kind = "broadcast" if name == "ready" else "cron" if name.startswith("__cron:") else "dispatch"
        self.logs.append(("error", OUR_TARGET, f"{kind} failed: {text}"))

    def report(self, key: int, handlers: list[str], busy: bool, wake_in_s: float | None) -> IsolateReport:
        """Everything collected, as a message."""
        return IsolateReport(
            key=key,
            done=tuple(self.done),
            calls=tuple(self.calls),
            fetches=tuple(self.fetches),
            fetches_taken=self.fetches_taken,
            cancelled_ops=tuple(self.cancelled),
            logs=tuple(self.logs),
            handlers=tuple(handlers) if self.handlers_changed else None,
            rebuilt=self.rebuilt,
            busy=busy,
            wake_in_s=wake_in_s,
            lost=self.lost,
        )
