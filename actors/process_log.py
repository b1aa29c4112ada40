"""The process log: one line per event on stderr, UTC seconds, sentence first, then fields.

Filter syntax of `log_level` (`RUST_LOG`): comma-separated `target=level`, or a bare level for everything; `flora::runtime`
names the logger `flora.runtime`. The most specific target wins.
"""

from __future__ import annotations

import logging
import sys
import time

from flora.messages.errors import ConfigError

LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "off": logging.CRITICAL + 10,
}
_STANDARD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def parse_filter(text: str) -> dict[str, int]:
    """Logger name → level; "" is the default for all.

    Raises:
        ConfigError: a part is neither a level nor `target=level`.
    """
    levels: dict[str, int] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        target, equals, level = part.rpartition("=")
        if level.lower() not in LEVELS or (equals and not target):
            raise ConfigError(f"log_level (RUST_LOG): {part!r} is not a level or target=level", key="log_level")
        levels[target.replace("::", ".")] = LEVELS[level.lower()]
    return levels


class _Line(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def __init__(self, process: str) -> None:
        super().__init__("%(asctime)s %(levelname)-5s " + process + ": %(message)s", "%Y-%m-%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = (f"{k}={v}" for k, v in record.__dict__.items() if k not in _STANDARD_FIELDS and k != "action")
        return " ".join((super().formatMessage(record), *fields))


def configure_logging(log_level: str, process: str) -> None:
    """Sends this process's log to stderr. Can be called again with another name."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name, level in parse_filter(log_level).items():
        logging.getLogger(name or None).setLevel(level)
