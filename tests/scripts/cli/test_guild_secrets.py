"""`flora secret`: values from pipes and files, never from the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flora.messages.secret_changes import DeleteSecret, ListSecrets, PutSecret, RotateSecrets

pytestmark = pytest.mark.service

GUILD = "1000"
OPERATOR = "operator-secret-for-tests"
VALUE = "s3cr3t hunter2"


@pytest.fixture
def api_with_secrets(api: Any) -> Any:
    known = [
        {"name": "API_KEY", "allowed_hosts": ["api.example.com", "*.example.org"], "readable": True},
        {"name": "X", "allowed_hosts": [], "readable": False},
    ]
    api.system.answers[ListSecrets] = lambda _: known
    api.system.answers[PutSecret] = lambda m: {
        "name": m.name,
        "allowed_hosts": list(m.allowed_hosts),
        "delivered": m.name != "LATE",
    }
    api.system.answers[DeleteSecret] = lambda _: {"deleted": True, "delivered": True}
    return api


async def test_given_secrets_when_listed_then_names_and_hosts_are_shown(flora: Any, api_with_secrets: Any) -> None:
    done = await flora.run("secret", "list", "--guild", GUILD, "--api", api_with_secrets.url)

    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "API_KEY  api.example.com, *.example.org",
        "X        no host  (not readable with the configured keys: set it again)",
    ]


async def test_given_a_value_from_a_pipe_or_a_file_when_set_then_it_is_stored_and_never_printed(
    flora: Any, api_with_secrets: Any
) -> None:
    where = ("--guild", GUILD, "--api", api_with_secrets.url)
    file = flora.write("key.pem", f"{VALUE}\n")

    piped = await flora.run(
        "secret", "set", "LATE", "--host", "a.example", "--host", "b.example", *where, stdin=f"{VALUE}\n"
    )
    filed = await flora.run("secret", "set", "API_KEY", "--value-file", str(file), *where)
    as_json = await flora.run("secret", "set", "NEW", "--json", *where, stdin=VALUE)

    assert [done.code for done in (piped, filed, as_json)] == [0, 0, 0], piped.err + filed.err
    assert piped.out == "LATE is set for a.example, b.example; the running script gets to know a little later\n"
    assert filed.out == "API_KEY is set for api.example.com, *.example.org\n"
    assert json.loads(as_json.out)["name"] == "NEW"
    puts = api_with_secrets.system.of(PutSecret)
    assert [(put.name, put.value, put.allowed_hosts) for put in puts] == [
        ("LATE", VALUE, ("a.example", "b.example")),
        ("API_KEY", f"{VALUE}\n", ("api.example.com", "*.example.org")),
        ("NEW", VALUE, ()),
    ]
    assert VALUE not in "".join(done.out + done.err for done in (piped, filed, as_json))


async def test_given_a_value_on_the_command_line_or_none_when_set_then_that_is_wrong_usage(
    flora: Any, api_with_secrets: Any
) -> None:
    where = ("--guild", GUILD, "--api", api_with_secrets.url)

    on_the_line = await flora.run("secret", "set", "KEY", VALUE, *where)
    empty = await flora.run("secret", "set", "KEY", *where)

    assert (on_the_line.code, empty.code) == (2, 2)
    assert "the value is empty" in empty.err
    assert api_with_secrets.system.of(PutSecret) == []


async def test_given_a_secret_when_deleted_then_the_api_hears_its_name(flora: Any, api_with_secrets: Any) -> None:
    done = await flora.run("secret", "delete", "a/b", "--guild", GUILD, "--api", api_with_secrets.url)

    assert (done.code, done.out) == (0, "a/b is deleted\n")
    assert api_with_secrets.system.of(DeleteSecret)[0].name == "a/b"


async def test_given_a_rotation_that_leaves_something_when_done_then_the_command_names_it_and_fails(
    flora: Any, api: Any
) -> None:
    lost = [{"guild_id": "7", "name": "KEY"}]
    api.system.answers[RotateSecrets] = lambda _: {
        "key_id": "ab12", "rotated": 3, "bound": 1, "unreadable": lost, "unreadable_count": 1,
    }  # fmt: skip

    done = await flora.run("secret", "rotate", "--api", api.url, FLORA_OPERATOR_SECRET=OPERATOR)

    assert done.code == 1
    assert done.out.splitlines() == [
        "3 secrets encrypted under key ab12, 1 of them bound to guild and name for the first time",
        "not readable with any configured key: KEY of guild 7",
    ]
