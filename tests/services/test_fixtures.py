from __future__ import annotations

import psycopg
import pytest
import redis

pytestmark = pytest.mark.service


@pytest.mark.parametrize("run", [1, 2])
def test_given_two_tests_when_each_makes_the_same_table_then_neither_sees_the_others(
    postgres_url: str, valkey_url: str, run: int
) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE mine (id int)")
        assert connection.execute("SELECT current_user").fetchone() == ("flora",)
    with redis.Redis.from_url(valkey_url) as client:
        assert client.dbsize() == 0
        client.set("mine", run)
