"""What holds for every command: help, usage errors, exit codes, where the API and the token come from."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from typing import Any

import pytest
from aiohttp import web

from flora.messages.deployment import GetDeployment, ListDeployments
from flora.messages.errors import DiscordError, StorageError
from flora.messages.gateway import CheckGuildAccess
from flora.messages.lifecycle import DescribeSystem
from flora.messages.logs import FollowLogs
from flora.messages.version import VERSION
from flora.storage.embedded.folder import DataFolder, announced

pytestmark = pytest.mark.service

ROW = {
    "guild_id": "1000",
    "entry": "src/main.ts",
    "created_at": "2026-01-02T03:04:05+00:00",
    "updated_at": "2026-01-02T03:04:06+00:00",
}


async def test_help_is_exit_code_0(flora: Any) -> None:
    done = await flora.run("--help")

    assert (done.code, done.err) == (0, "")
    assert "deploy" in done.out


def test_nothing_heavy_is_imported_before_a_command_needs_it() -> None:
    code = "import sys, flora.scripts.cli.main as m; m.build_parser(); print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not {"aiohttp", "thespian", "psycopg", "urllib.request", "asyncio", "orjson"} & set(loaded)


async def test_version_is_printed(flora: Any) -> None:
    assert (await flora.run("--version")).out == f"flora {VERSION}\n"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["deploy", "--guild-id", "5"], "unknown option: --guild-id; did you mean --guild?"),
        (["list", "--jsn"], "unknown option: --jsn; did you mean --json?"),
        (["depoly"], "unknown command: depoly; did you mean deploy?"),
        (["get", "extra", "--guild", "1"], "unexpected argument: extra"),
        (["logs"], "missing required value: guild (--guild)"),
        (["logs", "--guild", "1", "--level", "loud"], "invalid choice: 'loud'"),
        (["list", "--api", "nonsense"], "not an API URL: nonsense"),
        (["token", "create", "--user", "ada"], "--user must be a Discord user id"),
        ([], "usage: flora"),
        (["token"], "usage: flora token"),
    ],
)
async def test_wrong_usage_is_exit_code_2_with_a_hint(flora: Any, args: list[str], said: str) -> None:
    done = await flora.run(*args)

    assert (done.code, done.out) == (2, "")
    assert said in done.err


async def test_given_nobody_listens_when_called_then_the_error_names_the_address_and_is_exit_code_1(flora: Any) -> None:
    done = await flora.run("health", "--api", "http://127.0.0.1:1/api")

    assert (done.code, done.out) == (1, "")
    assert done.err == "error: cannot reach http://127.0.0.1:1/api: Connection refused; is flora running there?\n"


async def test_the_api_comes_from_the_flag_then_the_environment_then_the_file(flora: Any, api: Any) -> None:
    nowhere = "http://127.0.0.1:1/api"
    flora.environment["FLORA_TOKEN"] = ""
    (flora.home / "flora-nodejs").mkdir()
    (flora.home / "flora-nodejs" / "cli.json").write_text(json.dumps({"apiUrl": api.url, "token": "x"}))

    by_file = await flora.run("health")
    by_environment = await flora.run("health", FLORA_API_URL=nowhere)
    by_flag = await flora.run("--api", f"{api.url}/", "health", FLORA_API_URL=nowhere)

    assert [by_file.code, by_environment.code, by_flag.code] == [0, 1, 0]
    assert by_file.out == "ok\n"


async def test_given_no_api_when_a_flora_runs_in_the_folder_then_it_is_asked_as_long_as_it_runs(
    flora: Any, api: Any
) -> None:
    flora.environment["FLORA_TOKEN"] = ""
    (flora.project / "config.toml").write_text('data_dir = "state"\n')
    state = flora.project / "state"
    running = DataFolder.open(state)

    before = announced(state)
    running.announce(api.url.removesuffix("/api"))
    done = await flora.run("health")
    running.close()

    assert before is None
    assert (done.code, done.out) == (0, "ok\n")
    assert announced(state) is None


async def test_given_a_folder_that_names_another_machine_when_nothing_else_is_said_then_it_is_not_asked(
    flora: Any,
) -> None:
    running = DataFolder.open(flora.project / "data")
    running.announce("http://elsewhere.invalid:3000")

    done = await flora.run("list")
    running.close()

    assert "elsewhere" not in done.out + done.err


async def test_health_needs_no_token_and_tells_the_stage_on_request(flora: Any, api: Any) -> None:
    api.system.answers[DescribeSystem] = lambda _: {"ready": False, "stage": "restoring"}
    flora.environment.update(FLORA_TOKEN="", FLORA_API_URL=api.url)

    plain, ready, as_json = [await flora.run("health", *more) for more in ([], ["--ready"], ["--json"])]

    assert (plain.code, plain.out) == (0, "ok\n")
    assert (ready.code, ready.out, ready.err) == (1, "", "not ready: restoring\n")
    assert (as_json.code, json.loads(as_json.out)) == (0, {"health": "ok", "ready": False, "stage": "restoring"})


async def test_get_and_list_show_deployments_for_people_and_for_programs(flora: Any, api: Any) -> None:
    api.system.answers[GetDeployment] = lambda _: ROW
    api.system.answers[ListDeployments] = lambda _: [ROW]
    flora.environment.update(FLORA_API_URL=api.url, TZ="UTC")

    got = await flora.run("get", "--guild", "1000")
    listed = await flora.run("list")
    as_json = await flora.run("list", "--json")

    assert got.out.splitlines() == [
        "guild    1000",
        "entry    src/main.ts",
        "created  2026-01-02 03:04:05 UTC",
        "updated  2026-01-02 03:04:06 UTC",
    ]
    assert listed.out.split() == ["1000", "src/main.ts", "updated", "2026-01-02", "03:04:06", "UTC"]
    assert json.loads(as_json.out) == [ROW]


async def test_an_empty_list_says_so(flora: Any, api: Any) -> None:
    api.system.answers[ListDeployments] = lambda _: []

    assert (await flora.run("list", "--api", api.url)).out == "No deployments found.\n"


async def test_guilds_that_could_not_be_checked_are_mentioned(flora: Any, api: Any) -> None:
    def down(_: CheckGuildAccess) -> None:
        raise DiscordError("down")

    api.system.answers[ListDeployments] = lambda _: [ROW]
    api.system.answers[CheckGuildAccess] = down

    done = await flora.run("list", "--api", api.url)

    assert (done.code, done.out) == (0, "No deployments found.\n")
    assert done.err.startswith("warning: 1 guild left out")


async def test_given_a_wrong_setting_when_brought_up_then_it_is_named_and_nothing_is_made(flora: Any) -> None:
    done = await flora.run("up", "--port", "99999")

    assert done.code == 1
    assert "api.port (API_PORT)" in done.err
    assert list(flora.project.iterdir()) == []


async def test_given_the_server_refuses_when_called_then_its_words_are_shown(flora: Any, api: Any) -> None:
    def broken(_: object) -> None:
        raise StorageError("private")

    api.system.answers[GetDeployment] = broken
    flora.environment["FLORA_API_URL"] = api.url

    foreign = await flora.run("get", "--guild", "2000")
    internal = await flora.run("get", "--guild", "1000")
    unknown = await flora.run("get", "--guild", "1000", FLORA_TOKEN="wrong" * 9)

    assert (foreign.code, foreign.err) == (1, "error: Forbidden: Admin permission required\n")
    said = "error: Internal server error: a store refused or failed; the process log says why\n"
    assert (internal.code, internal.err) == (1, said)
    assert unknown.err.startswith("error: Unauthorized: Login required (")
    assert "flora login" in unknown.err


async def test_without_a_token_the_error_says_how_to_get_one(flora: Any, api: Any) -> None:
    done = await flora.run("list", "--api", api.url, FLORA_TOKEN="")

    assert (done.code, done.err) == (1, "error: no API token; run `flora login`, or set FLORA_TOKEN\n")


async def test_a_kept_token_is_not_sent_to_another_host(flora: Any) -> None:
    (flora.home / "flora-nodejs").mkdir()
    kept = {"apiUrl": "https://flora.example/api", "token": "kept-token-of-flora-example"}
    (flora.home / "flora-nodejs" / "cli.json").write_text(json.dumps(kept))

    done = await flora.run("list", "--api", "https://192.0.2.1/api", FLORA_TOKEN="")

    assert done.code == 1
    assert "is not sent to 192.0.2.1" in done.err


async def test_given_a_page_instead_of_the_api_when_called_then_it_is_not_mistaken_for_an_answer(
    flora: Any, plain_server: Any
) -> None:
    async def page(_: web.BaseRequest) -> web.Response:
        return web.Response(text="<html>", content_type="text/html")

    done = await flora.run("list", "--api", await plain_server(page))

    assert done.code == 1
    assert "did not answer with JSON" in done.err


async def test_given_a_redirect_when_called_then_the_token_does_not_follow_it(flora: Any, plain_server: Any) -> None:
    async def moved(_: web.BaseRequest) -> web.Response:
        return web.Response(status=302, headers={"Location": "https://elsewhere.example/api"})

    done = await flora.run("list", "--api", await plain_server(moved))

    assert done.code == 1
    assert "has moved to https://elsewhere.example/api" in done.err


async def test_unexpected_failures_show_no_stack_trace_unless_asked(flora: Any, plain_server: Any) -> None:
    async def odd(_: web.BaseRequest) -> web.Response:
        return web.json_response({"unexpected": True})

    url = await plain_server(odd)
    plain = await flora.run("get", "--guild", "1", "--api", url)
    traced = await flora.run("get", "--guild", "1", "--api", url, "--debug")

    assert (plain.code, plain.err) == (1, "error: KeyError: 'guild_id' (--debug shows where)\n")
    assert "Traceback" in traced.err


async def test_interrupted_is_exit_code_130_without_a_stack_trace(flora: Any, api: Any, eventually: Any) -> None:
    api.system.answers[FollowLogs] = lambda _: {"subscription": "s1"}
    process = await flora.start("logs", "--guild", "1000", "-f", "-n", "0", "--api", api.url)
    await eventually.soon(lambda: len(api.deps.log_streams) == 1, within_s=10)

    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()

    assert process.returncode == 130
    assert b"Traceback" not in err


async def test_given_a_reader_that_leaves_when_printing_then_nothing_is_complained_about(flora: Any, api: Any) -> None:
    api.system.answers[ListDeployments] = lambda _: [ROW] * 5_000
    command = f"{sys.executable} -m flora.scripts.cli.main list --json | true"
    process = await asyncio.create_subprocess_shell(
        command, env={**os.environ, **flora.environment, "FLORA_API_URL": api.url}, stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()

    assert err == b""


async def test_at_a_terminal_a_missing_value_is_asked_for(flora: Any, api: Any) -> None:
    api.system.answers[GetDeployment] = lambda request: {**ROW, "guild_id": request.guild_id}
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "flora.scripts.cli.main", "get", "--api", api.url),
        env={**os.environ, **flora.environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    os.write(ours, b"1000\n")
    assert await process.wait() == 0
    shown = os.read(ours, 10_000).decode()
    os.close(ours)

    assert shown.startswith(("guild: ", "1000"))
    assert "entry    src/main.ts" in shown
