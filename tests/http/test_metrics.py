from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flora.http.limits import HttpLimits
from flora.messages.lifecycle import ReadMetrics

SECRET = "operator-secret-for-tests"
GUILD = {"guild_id": "1000", "state": "serving", "placement": "shared", "waiting": 0, "usage": {"cpu_us": 2_500_000}}


async def text_of(host: Any, **headers: str) -> str:
    response = await host.get("/api/metrics", token=SECRET, headers=headers)
    assert response.status == 200, await response.text()
    return str(await response.text())


@pytest.mark.service
async def test_metrics_come_as_text_as_openmetrics_and_as_json(host: Any) -> None:
    host.system.answers[ReadMetrics] = lambda _: {"isolate_count": 4, "avg_latency_us": 1.25, "note": "no number"}

    text = await host.get("/api/metrics", token=SECRET)
    openmetrics = await host.get("/api/metrics", token=SECRET, headers={"Accept": "application/openmetrics-text"})
    values = await host.get("/api/metrics/json", token=SECRET)

    assert text.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "flora_isolate_count 4.0\n" in await text.text()
    assert openmetrics.headers["Content-Type"].startswith("application/openmetrics-text")
    assert (await openmetrics.text()).endswith("# EOF\n")
    assert await values.json() == {"isolate_count": 4, "avg_latency_us": 1.25}


@pytest.mark.service
async def test_given_workers_and_guilds_then_the_metrics_have_their_series_and_the_json_has_them_if_asked(
    host: Any,
) -> None:
    worker = {"worker": 0, "up": True, "restarts": 1, "rss_bytes": 9}
    counted = {"dispatch_total": 3, "incarnation": "w", "series": {"kv": {("get", "ok"): 5}}}
    about_guilds = {"notable": [GUILD], "states": {"serving": 1}, "placements": {"shared": 1}}
    router = {"guild_routes": 4, "incarnation": "r", "series": {}, "workers": [{**worker, "metrics": counted}]}
    host.system.answers[ReadMetrics] = lambda asked: {**router, **({"guilds": about_guilds} if asked.notable else {})}

    text = await text_of(host)
    plain = await (await host.get("/api/metrics/json", token=SECRET)).json()
    detailed = await (await host.get("/api/metrics/json?detail=true", token=SECRET)).json()

    assert 'flora_guild_cpu_seconds_total{guild_id="1000"} 2.5\n' in text
    assert 'flora_worker_restarts_total{worker="0"} 1.0\n' in text
    assert 'flora_kv_operations_total{kind="get",outcome="ok"} 5.0\n' in text
    assert plain == {"guild_routes": 4, "dispatch_total": 3}
    assert detailed == {**plain, "workers": [worker], "guilds": [GUILD]}


@pytest.mark.service
async def test_given_actors_that_are_away_or_silent_then_the_others_are_shown_and_up_says_who(make_host: Any) -> None:
    host = await make_host(HttpLimits(metrics_s=0.05))
    silence = asyncio.Event()
    said = {"incarnation": "a", "process": {"cpu_us": 1, "rss_bytes": 2, "unknown_messages": 0}}
    answers = iter([said] * 2)

    async def answer(_: Any) -> Any:
        found = next(answers, None)
        if found is None:
            await silence.wait()
        return found

    host.system.answers[ReadMetrics] = answer

    text = await text_of(host)
    no_router = await host.get("/api/metrics/json", token=SECRET)

    assert text.count("flora_up{") == 8
    assert text.count('"} 1.0\n') >= 2
    assert 'flora_up{actor="compiler"} 0.0\n' in text, "nobody plays that role here"
    assert 'flora_up{actor="log book"} 0.0\n' in text
    assert no_router.status == 503


@pytest.mark.service
async def test_given_requests_of_every_kind_when_counted_then_routes_are_templates_and_unknown_paths_one(
    host: Any,
) -> None:
    await host.get("/api/health")
    await host.get("/api/deployments/2000")
    await host.get("/api/deployments/1000", token=None)
    await host.get("/api/made/up/1")
    await host.get("/made/up/2")

    samples = host.deps.own.samples()

    assert samples["http"] == {
        ("GET", "/api/health", "200"): 1,
        ("GET", "/api/deployments/{guild_id}", "403"): 1,
        ("GET", "/api/deployments/{guild_id}", "401"): 1,
        ("GET", "other", "404"): 2,
    }
    assert {labels: sum(sample[0]) for labels, sample in samples["http_time"].items()} == {
        ("/api/health",): 1,
        ("/api/deployments/{guild_id}",): 2,
        ("other",): 2,
    }
