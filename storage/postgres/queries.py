"""Loads queries.sql: each query stands under a line `-- :name its_name` and ends where the next one begins."""

from __future__ import annotations

import re
from importlib import resources

_HEADING = re.compile(r"^-- :name (\w+)[ \t]*$", re.MULTILINE)


def parse_queries(text: str) -> dict[str, str]:
    """Queries by name; comment lines between them are dropped.

    Raises:
        ValueError: a name is used twice, or has no query.
    """
    found: dict[str, str] = {}
    _, *parts = _HEADING.split(text)
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        query = "\n".join(line for line in body.splitlines() if not line.startswith("--")).strip().rstrip(";")
        if name in found or not query:
            raise ValueError(f"queries.sql: {name} is there twice or is empty")
        found[name] = query
    return found


QUERIES = parse_queries(resources.files(__package__).joinpath("queries.sql").read_text(encoding="utf-8"))
