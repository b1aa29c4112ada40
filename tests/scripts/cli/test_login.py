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
