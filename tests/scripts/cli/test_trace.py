"""`flora trace` through the real command, on files that a flora has left behind and through the API."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from flora.scripts.cli.errors import UsageError
from flora.scripts.cli.trace import span_us
from flora.storage.trace_files import TraceWriter
from flora.storage.trace_record import TraceRecord

GUILD = "1000"
RUN = "5f3a9c1be2d04471"


def a_hop(seq: int, span: int, parent: int = 0, **facts: Any) -> TraceRecord:
    known = {
        "name": "isolate.run",
        "kind": "event",
        "event": "messageCreate",
        "guild_id": GUILD,
        "took_us": 5000,
        **facts,
    }
    known["at_us"] = time.time_ns() // 1000 + seq * 1000
    return TraceRecord(
        trace=f"{RUN}{seq:016x}",
        span=f"{seq * 16 + span:016x}",
        parent=f"{seq * 16 + parent:016x}" if parent else "",
        **known,
    )


def write(data_dir: Path, process: str, *hops: TraceRecord) -> None:
    writer = TraceWriter(data_dir / "traces", process, 64_000_000)
    for hop in hops:
        writer.add(hop)
    writer.close()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """What a flora that was killed has left: three events, one of which threw, and one of another guild."""
    data_dir = tmp_path / "left"
    write(data_dir, "gateway", *(a_hop(seq, 1, process="gateway", name="gateway.receive") for seq in (1, 2, 3)))
    write(
        data_dir,
        "worker 0",
        a_hop(1, 2, 1, process="worker 0"),
        a_hop(2, 2, 1, process="worker 0", outcome="threw", why="TypeError: no (main.ts:1:1)"),
        a_hop(3, 2, 1, process="worker 0", took_us=900_000),
        a_hop(4, 2, process="worker 0", guild_id="2000", event="guildCreate"),
    )
    with next((data_dir / "traces").glob("worker*")).open("ab") as torn:
        torn.write(b'{"trace":"5f3a9c1b')
    return data_dir


async def listed(flora: Any, data_dir: Path, *filters: str) -> list[str]:
    done = await flora.run("trace", "list", "--data-dir", str(data_dir), *filters)
    assert done.code == 0, done.err
    return [line.split()[-1] for line in done.out.splitlines()]


pytestmark = pytest.mark.service


async def test_given_a_dead_system_when_its_traces_are_listed_then_filters_choose_among_them(
    flora: Any, data_dir: Path
) -> None:
    all_of_them, failed, slow = await asyncio.gather(
        listed(flora, data_dir),
        listed(flora, data_dir, "--outcome", "failed", "--guild", GUILD, "--event", "message*"),
        listed(flora, data_dir, "--slower-than", "0.5s", "--since", "1h", "--kind", "event"),
    )

    assert all_of_them == ["5f3a-000004", "5f3a-000003", "5f3a-000002", "5f3a-000001"]
    assert failed == ["5f3a-000002"]
    assert slow == ["5f3a-000003"]


async def test_given_a_short_id_when_shown_then_what_happened_is_there(flora: Any, data_dir: Path) -> None:
    shown, as_json = await asyncio.gather(
        flora.run("trace", "show", "5f3a-000002", "--data-dir", str(data_dir)),
        flora.run("trace", "show", "5f3a-000002", "--data-dir", str(data_dir), "--json"),
    )

    assert shown.code == 0
    assert "TypeError: no (main.ts:1:1)" in shown.out
    found = json.loads(as_json.out)
    assert (found["outcome"], [hop["process"] for hop in found["records"]]) == ("threw", ["gateway", "worker 0"])


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("show", "5f3a"), 1, "may be any of 4 traces"),
        (("show", "5f3a-000077"), 1, "no trace 5f3a-000077"),
        (("show", "../etc"), 2, "is no trace id"),
        (("list", "--guild", "x"), 2, "is no guild id"),
        (("export", "--outcome", "shed"), 1, "nothing to export"),
        (("list", "--remote"), 2, "cannot be used together"),
    ],
)
async def test_given_what_cannot_be_when_asked_then_one_sentence_says_why(
    flora: Any, data_dir: Path, args: tuple[str, ...], code: int, message: str
) -> None:
    done = await flora.run("trace", *args, "--data-dir", str(data_dir))

    assert done.code == code
    assert message in done.err
    assert "Traceback" not in done.err


async def test_given_no_traces_or_a_folder_that_is_none_then_it_says_so(flora: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "traces").write_text("x", encoding="utf-8")
    empty, odd, none = await asyncio.gather(
        *(flora.run("trace", "list", "--data-dir", str(tmp_path / name)) for name in ("empty", "odd", "none"))
    )

    assert (empty.code, empty.out, empty.err) == (0, "", f"No traces found in {tmp_path}/empty/traces\n")
    assert odd.code == none.code == 1
    assert "cannot be read: Not a directory" in odd.err
    assert "there is no folder" in none.err


async def test_given_an_export_then_the_file_is_there(flora: Any, data_dir: Path, tmp_path: Path) -> None:
    chrome, otlp, nowhere = await asyncio.gather(
        flora.run("trace", "export", "--data-dir", str(data_dir), "--out", str(tmp_path / "c.json")),
        flora.run("trace", "export", "5f3a-000001", "--data-dir", str(data_dir), "--format", "otlp"),
        flora.run("trace", "export", "--data-dir", str(data_dir), "--out", str(tmp_path / "no" / "c.json")),
    )

    assert chrome.code == otlp.code == 0, chrome.err + otlp.err
    assert len([e for e in json.loads((tmp_path / "c.json").read_bytes())["traceEvents"] if e["ph"] == "X"]) == 7
    assert len(json.loads(otlp.out)["resourceSpans"]) == 2
    assert (nowhere.code, "cannot be written" in nowhere.err) == (1, True)


async def test_given_somebody_follows_when_an_event_is_handled_then_it_is_shown(flora: Any, data_dir: Path) -> None:
    process = await flora.start("trace", "follow", "--data-dir", str(data_dir), "--outcome", "failed", "--json")
    await asyncio.wait_for(process.stderr.readline(), 15)

    write(data_dir, "router", a_hop(7, 1, outcome="shed", process="router"), a_hop(8, 1, process="router"))
    shown = json.loads(await asyncio.wait_for(process.stdout.readline(), 15))
    process.terminate()
    await process.wait()

    assert (shown["id"], shown["outcome"]) == ("5f3a-000007", "shed")


async def test_given_the_api_when_asked_remotely_then_the_same_is_shown(flora: Any, api: Any, data_dir: Path) -> None:
    assert str(data_dir).endswith("left")  # where this API looks
    url = ("--api", api.url)
    mine, refused, shown = await asyncio.gather(
        flora.run("trace", "list", "--remote", "--guild", GUILD, *url),
        flora.run("trace", "list", "--remote", *url),
        flora.run("trace", "show", "5f3a-000004", "--remote", *url, FLORA_OPERATOR_SECRET="operator-secret-for-tests"),
    )

    assert [line.split()[-1] for line in mine.out.splitlines()] == ["5f3a-000003", "5f3a-000002", "5f3a-000001"], (
        mine.err
    )
    assert (refused.code, "--guild" in refused.err) == (2, True)
    assert "guildCreate of guild 2000" in shown.out


@pytest.mark.parametrize(
    ("text", "us"), [("200ms", 200_000), ("1.5s", 1_500_000), ("800us", 800), ("2m", 120_000_000), ("7", 7000)]
)
def test_given_a_length_of_time_then_it_is_read(text: str, us: int) -> None:
    assert span_us(text) == us


@pytest.mark.parametrize("text", ["", "ms", "-1s", "1h", "nan", "1e400", "2 weeks"])
def test_given_no_length_of_time_then_it_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        span_us(text)
