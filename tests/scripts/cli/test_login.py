from __future__ import annotations

import json
import stat
from typing import Any

import pytest

from flora.scripts.cli import user_config

pytestmark = pytest.mark.service

TOKEN = "abcdefghijkl.abcdefghijklmnopqrstuvwxyz012345"


async def test_given_a_valid_token_when_logging_in_then_token_and_url_are_kept_for_the_owner_only(
    flora: Any, api: Any
) -> None:
    file = flora.home / "flora-nodejs" / "cli.json"

    done = await flora.run("login", TOKEN, "--api", api.url, FLORA_TOKEN="")

    assert done.code == 0
    assert done.out.startswith("Saved token of user 77 to config\n")
    assert json.loads(file.read_text()) == {"apiUrl": api.url, "token": TOKEN}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert TOKEN not in done.out + done.err
    assert [path.name for path in file.parent.iterdir()] == ["cli.json"]


async def test_given_a_wrong_token_when_logging_in_then_nothing_is_changed(flora: Any, api: Any) -> None:
    done = await flora.run("login", "--token", "w" * 45, "--api", api.url)

    assert done.code == 1
    assert "Login required" in done.err
    assert not (flora.home / "flora-nodejs").exists()


async def test_given_no_verify_when_logging_in_then_the_server_is_not_asked(flora: Any) -> None:
    url = "http://127.0.0.1:1/api"

    done = await flora.run("login", "-", "--no-verify", "--api", url, stdin=f"{TOKEN}\n")

    assert done.code == 0
    assert json.loads((flora.home / "flora-nodejs" / "cli.json").read_text()) == {"apiUrl": url, "token": TOKEN}


async def test_without_a_token_and_a_terminal_it_is_wrong_usage(flora: Any) -> None:
    assert (await flora.run("login")).code == 2


def test_given_an_older_file_when_saved_then_other_fields_stay_and_it_becomes_private(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = user_config.config_file()
    file.parent.mkdir()
    file.write_text('{"token": "old", "theme": "dark"}')
    file.chmod(0o644)

    user_config.save(token="new")

    assert user_config.load() == {"token": "new", "theme": "dark"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["{", "[]"])
async def test_given_a_damaged_file_when_read_then_the_error_names_it(flora: Any, text: str) -> None:
    (flora.home / "flora-nodejs").mkdir()
    file = flora.home / "flora-nodejs" / "cli.json"
    file.write_text(text)

    done = await flora.run("list")

    assert done.code == 1
    assert str(file) in done.err


async def test_given_a_kept_token_then_whoami_tells_and_logout_forgets_it(flora: Any, api: Any) -> None:
    await flora.run("login", TOKEN, "--api", api.url, FLORA_TOKEN="")

    told = await flora.run("whoami", FLORA_TOKEN="")
    as_json = await flora.run("whoami", "--json", FLORA_TOKEN="")
    out = await flora.run("logout", FLORA_TOKEN="")
    twice = await flora.run("logout", FLORA_TOKEN="")
    after = await flora.run("whoami", FLORA_TOKEN="")

    assert (told.code, told.out) == (0, f"user 77\n  api   {api.url}\n")
    assert json.loads(as_json.out)["user"]["id"] == "77"
    assert (out.code, twice.out) == (0, "Not logged in\n")
    assert json.loads((flora.home / "flora-nodejs" / "cli.json").read_text()) == {"apiUrl": api.url}
    assert after.code == 1
    assert "no API token" in after.err


async def test_given_a_logout_that_revokes_then_the_token_works_nowhere_any_more(flora: Any, api: Any) -> None:
    token = await api.deps.tokens.create("78", None)
    await flora.run("login", token, "--api", api.url, FLORA_TOKEN="")

    out = await flora.run("logout", "--revoke", FLORA_TOKEN="")
    again = await flora.run("login", token, "--api", api.url, FLORA_TOKEN="")

    assert out.code == 0, out.err
    assert await api.deps.tokens.authenticate(token) is None
    assert again.code == 1


async def test_given_a_server_that_is_away_when_the_token_should_be_revoked_then_it_is_kept(flora: Any) -> None:
    await flora.run("login", TOKEN, "--no-verify", "--api", "http://127.0.0.1:1/api", FLORA_TOKEN="")

    out = await flora.run("logout", "--revoke", FLORA_TOKEN="")

    assert out.code == 1
    assert json.loads((flora.home / "flora-nodejs" / "cli.json").read_text())["token"] == TOKEN
