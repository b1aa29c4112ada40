from __future__ import annotations

import re
from pathlib import Path

import pytest

from flora.storage.postgres import queries
from flora.storage.postgres.queries import QUERIES, parse_queries

FOLDER = Path(queries.__file__).parent


def test_given_named_queries_then_each_is_found_without_its_comments() -> None:
    text = "-- file\n\n-- why\n-- :name one\nSELECT 1;\n\n-- about two\n-- :name two_b\nSELECT\n    2;\n"

    assert parse_queries(text) == {"one": "SELECT 1", "two_b": "SELECT\n    2"}


@pytest.mark.parametrize("text", ["-- :name a\nSELECT 1;\n-- :name a\nSELECT 2;", "-- :name a\n-- only words\n"])
def test_given_a_doubled_or_empty_query_then_it_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="twice or is empty"):
        parse_queries(text)


def test_every_query_is_used_and_every_used_query_exists() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py"))

    used = set(re.findall(r'(?:fetch_all|fetch_one|execute|execute_many)\(\s*"(\w+)"', source)) | set(
        re.findall(r'QUERIES\["(\w+)"\]', source)
    )

    assert used == set(QUERIES)
