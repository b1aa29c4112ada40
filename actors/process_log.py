"""The process log: one line per fact on stderr, for people (UTC seconds, sentence first, then fields) or for programs (JSON).

A JSON line has `time`, `level`, `process`, `target`, `message`, `trace_id` where the fact belongs to a trace, the fact's own fields
(`guild_id` …), and `stack` after an exception.

Filter syntax of `log_level` (`RUST_LOG`): comma-separated `target=level`, or a bare level for everything; `flora::runtime`
names the logger `flora.runtime`. The most specific target wins.
"""

from __future__ import annotations

import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any

import orjson

from flora.messages.errors import ConfigError
from flora.messages.trace import current_trace

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
        fields = (f"{key}={value}" for key, value in _fields(record).items() if key != "action")
        return " ".join((super().formatMessage(record), *fields))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """The fact's own fields, and the trace that its thread or task is working on."""
    fields = {key: value for key, value in record.__dict__.items() if key not in _STANDARD_FIELDS}
    trace = current_trace.get()
    return fields if trace is None else {"trace_id": trace.trace_id, **fields}


class _JsonLine(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        fact: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower().replace("warning", "warn"),
            "process": self._process,
            "target": record.name,
            "message": record.getMessage(),
        }
        fact |= {key: value for key, value in _fields(record).items() if key not in fact}
        if record.exc_info:
            fact["stack"] = self.formatException(record.exc_info)
        return orjson.dumps(fact, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def configure_logging(log_level: str, process: str, log_format: str = "auto") -> None:
    """Sends this process's log to stderr. Can be called again with another name.

    log_format: pretty | json | auto, which is pretty on a terminal.
    """
    handler = logging.StreamHandler(sys.stderr)
    pretty = log_format == "pretty" or (log_format == "auto" and sys.stderr.isatty())
    handler.setFormatter(_Line(process) if pretty else _JsonLine(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name, level in parse_filter(log_level).items():
        logging.getLogger(name or None).setLevel(level)
