"""Errors that end a command with one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class CliError(Exception):
    """It did not work; `str()` says what happened and what to do."""

    exit_code = 1


class UsageError(CliError):
    """The command was called in a way that cannot work."""

    exit_code = 2


class Unreachable(CliError):
    """Nobody answers at the API's address, or the connection broke. Trying again may help."""


class ApiError(CliError):
    """The API refused. Has the server's own words, and its code and details for programs."""

    def __init__(self, status: int, message: str, code: str = "", details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.details = dict(details or {})
