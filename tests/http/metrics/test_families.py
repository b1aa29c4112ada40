"""From what actors answered to what Prometheus reads."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from flora.http.metrics.exposition import OPENMETRICS, exposition
from flora.http.metrics.facts import PER_GUILD, PER_WORKER
from flora.http.metrics.families import families
from flora.http.metrics.numbers import NUMBERS
from flora.http.metrics.reading import Reading
from flora.messages.metrics import FAMILIES
from flora.scripts.bench_scrape import reading

everything = cache(reading)
MAX_BYTES = 1_000_000
MAX_SERIES = 10_000


def a_reading(**changes: Any) -> Reading:
    nothing: dict[str, Any] = {
        "numbers": {}, "series": {}, "up": {}, "processes": {}, "workers": (), "guilds": {},
    }  # fmt: skip
    return Reading(**nothing | changes)


def a_guild(guild_id: str = "1000", **changes: Any) -> dict[str, Any]:
    usage = {"cpu_us": 2_500_000, "cpu_us_last_minute": 1000, "throttled": 3, "events_done": 7, "heap_bytes": None}
    fields = {"guild_id": guild_id, "placement": "shared", "state": "serving", "waiting": 0, "unfinished": 2}
    return {**fields, "usage": usage, **changes}


def a_worker(worker: int = 0, **changes: Any) -> dict[str, Any]:
    fields = {"worker": worker, "up": True, "guilds": 2, "unfinished": 5, "restarts": 1, "cpu_us": 1_500_000}
    return {**fields, "rss_bytes": 90_000_000, **changes}


def text_of(reading: Reading) -> str:
    return exposition(families(reading), "")[0].decode()


def test_given_everything_there_can_be_then_every_documented_family_is_there_once_in_both_formats() -> None:
    shown = families(everything(1_000))
    text, plain_type = exposition(shown, "text/html, */*;q=0.1")
    openmetrics, open_type = exposition(shown, f"{OPENMETRICS};version=1.0.0;q=0.5,text/plain;q=0.3")

    found = {family.name: family for family in parse_text(text.decode())}
    again = {family.name: family for family in parse_openmetrics(openmetrics.decode())}

    documented = {f.name for f in FAMILIES.values()} | {f.name for f in (*PER_WORKER, *PER_GUILD)}
    documented |= {"flora_up", "flora_guilds", "flora_guilds_placed", "flora_guild_state", "flora_unknown_messages"}
    documented |= {"flora_process_cpu_seconds", "flora_process_resident_bytes", "flora_trace_records_lost"}
    assert documented <= set(found) == set(again)
    assert set(found) - documented <= {number.name for number in NUMBERS.values()}
    names = re.findall(r"^# TYPE (\S+) ", text.decode(), re.MULTILINE)
    assert len(names) == len(set(names))
    assert plain_type == "text/plain; charset=utf-8"
    assert open_type.startswith(f"{OPENMETRICS}; version=1.0.0")


@pytest.mark.parametrize("guilds", [1_000, 10_000])
def test_given_very_many_guilds_and_every_label_there_can_be_then_a_scrape_is_bounded(guilds: int) -> None:
    body, _ = exposition(families(everything(guilds)), "")

    series = [line for line in body.splitlines() if not line.startswith(b"#")]
    assert len(body) < MAX_BYTES
    assert len(series) < MAX_SERIES
    assert len({line.rpartition(b" ")[0] for line in series}) == len(series), "a series is there twice"


def test_given_every_number_of_the_json_answer_then_it_has_its_name_type_and_value() -> None:
    text = text_of(a_reading(numbers=dict.fromkeys(NUMBERS, 3) | {"made_up": 2.5, "no name": 1}))

    assert "# TYPE flora_dispatch_errors_total counter\nflora_dispatch_errors_total 3.0\n" in text
    assert "# TYPE flora_dispatch_latency_p99_us gauge\nflora_dispatch_latency_p99_us 3.0\n" in text
    assert "# TYPE flora_events_accepted untyped\nflora_events_accepted 3.0\n" in text
    assert "# TYPE flora_made_up untyped\nflora_made_up 2.5\n" in text
    assert text.count("# HELP ") == len(NUMBERS) + 1 + len(FAMILIES) > 80
    assert "no name" not in text


def test_given_a_histogram_then_its_buckets_add_up_and_are_in_seconds() -> None:
    bounds = FAMILIES["cron_lateness"].bounds
    counts = (2, 0, 1, *[0] * (len(bounds) - 3), 4)

    text = text_of(a_reading(series={"cron_lateness": {(): (counts, 1_500_000)}}))

    assert 'flora_cron_lateness_seconds_bucket{le="0.001"} 2.0\n' in text
    assert 'flora_cron_lateness_seconds_bucket{le="0.01"} 3.0\n' in text
    assert 'flora_cron_lateness_seconds_bucket{le="+Inf"} 7.0\n' in text
    assert "flora_cron_lateness_seconds_count 7.0\nflora_cron_lateness_seconds_sum 1.5\n" in text


def test_given_facts_then_every_series_is_in_its_family_and_what_is_not_known_is_left_out() -> None:
    workers = [a_worker(), a_worker(1000, rss_bytes=None, up=False)]

    counts = {"states": {"throttled": 1, "failed": 0}, "placements": {"quarantined": 0}}

    text = text_of(a_reading(workers=workers, guilds={"notable": [a_guild(state="throttled")], **counts}))

    assert 'flora_worker_up{worker="0"} 1.0\nflora_worker_up{worker="1000"} 0.0\n' in text
    assert 'flora_worker_restarts_total{worker="0"} 1.0\n' in text
    assert 'flora_worker_resident_bytes{worker="1000"}' not in text
    assert 'flora_guild_cpu_seconds_total{guild_id="1000"} 2.5\n' in text
    assert 'flora_guild_state{guild_id="1000",state="throttled"} 1.0\n' in text
    assert 'flora_guilds{state="throttled"} 1.0\n' in text
    assert 'flora_guilds{state="failed"} 0.0\n' in text
    assert 'flora_guilds_placed{placement="quarantined"} 0.0\n' in text


def test_given_a_total_and_its_parts_under_one_name_then_they_are_one_family() -> None:
    text = text_of(a_reading(numbers={"guild_throttled": 9}, workers=[a_worker()], guilds={"notable": [a_guild()]}))

    assert text.count("# TYPE flora_guild_throttled_total counter\n") == 1
    assert 'flora_guild_throttled_total 9.0\nflora_guild_throttled_total{guild_id="1000"} 3.0\n' in text


def test_given_actors_then_it_is_told_who_is_away_and_what_the_others_use() -> None:
    processes = {"router": {"cpu_us": 2_500_000, "rss_bytes": 5, "unknown_messages": 1, "traces_lost": 2}}

    text = text_of(a_reading(up={"router": True, "gateway": False}, processes=processes))

    assert 'flora_up{actor="router"} 1.0\nflora_up{actor="gateway"} 0.0\n' in text
    assert 'flora_process_cpu_seconds_total{actor="router"} 2.5\n' in text
    assert 'flora_unknown_messages_total{actor="router"} 1.0\n' in text
    assert 'flora_trace_records_lost_total{actor="router"} 2.0\n' in text
