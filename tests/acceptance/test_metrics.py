"""What a running flora tells Prometheus, and what the dashboard asks of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flora.http.metrics.facts import PER_GUILD, PER_WORKER
from flora.http.metrics.numbers import NUMBERS
from flora.messages.metrics import FAMILIES

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(90)]

DASHBOARD = Path(__file__).parents[2] / "scripts" / "grafana" / "flora.json"
BUSY = """
on('messageCreate', async (msg) => {
  if (msg.author.bot) return
  await kv.set('k', 'v')
  console.log('heard')
  await msg.reply('echo ' + msg.content)
})
"""
GONE = "on('messageCreate', () => { throw new Error('on purpose') })"
_NAME = re.compile(r"\bflora_\w+")
_LABELS = re.compile(r"\bby \(([^)]*)\)|\{(\w+)(?:=|!=|=~|!~)\"|\{\{(\w+)\}\}")

Samples = dict[str, list[tuple[dict[str, str], float]]]


def scrape(flora: Any) -> tuple[str, Samples]:
    text = flora.scrape()
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return text, found


def value(samples: Samples, name: str, **labels: str) -> float:
    """Of all series with these labels together."""
    return sum(number for each, number in samples.get(name, ()) if labels.items() <= each.items())


def questions() -> Iterator[tuple[str, str]]:
    """(expression, legend) of every panel."""
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"], target["legendFormat"]


def labels_in(text: str) -> set[str]:
    return {
        label.strip() for found in _LABELS.findall(text) for part in found for label in part.split(",") if label.strip()
    }


def test_given_a_flora_that_works_when_scraped_then_all_there_is_to_know_is_told_and_the_dashboard_finds_it(
    flora, wait_for
):
    guild, failing = flora.new_guilds([None, None])
    before = scrape(flora)[1]
    guild.deploy_files({"main.ts": BUSY})
    failing.deploy(GONE)
    assert guild.ask("one") == "echo one"
    failing.say("go")

    def told() -> tuple[str, Samples] | None:
        text, samples = scrape(flora)
        more = value(samples, "flora_dispatch_duration_seconds_count", outcome="threw") > value(
            before, "flora_dispatch_duration_seconds_count", outcome="threw"
        )
        return (text, samples) if more else None

    text, after = wait_for(told, 10.0, "the failed event is not counted")

    def risen(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert risen("flora_dispatch_duration_seconds_count", event="messageCreate", outcome="ok") >= 1
    assert risen("flora_event_router_wait_seconds_count") >= 2
    assert risen("flora_event_worker_wait_seconds_count") >= 2
    assert risen("flora_rest_finished_total", route="POST /channels/{id}/messages", status="2xx") >= 1
    assert risen("flora_kv_operations_total", kind="set", outcome="ok") >= 1
    assert risen("flora_deploy_duration_seconds_count", kind="deploy", outcome="ok") == 2
    assert risen("flora_compile_duration_seconds_count", outcome="ok") >= 2
    assert risen("flora_http_requests_total", method="POST", route="/api/deployments/{guild_id}", status="200") == 2
    assert risen("flora_log_lines_total", level="info") >= 1
    assert {labels["actor"] for labels, up in after["flora_up"] if up == 1} >= {
        *("runtime", "http", "router", "gateway", "deployer", "compiler", "cron", "log book", "worker 0"),
    }
    documented = {name.name for name in (*NUMBERS.values(), *FAMILIES.values(), *PER_WORKER, *PER_GUILD)}
    shown = {name.removesuffix("_total") for name in re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE)}
    assert documented - shown == set()
    _check_dashboard(after)


def _check_dashboard(samples: Samples) -> None:
    known = {name: set().union(*(labels for labels, _ in series)) for name, series in samples.items()}
    for family in FAMILIES.values():  # those that count what did not happen here have no series
        for suffix in (
            ("_bucket", "_count", "_sum") if family.bounds else ("_total",) if family.kind == "counter" else ("",)
        ):
            known.setdefault(family.name + suffix, {*family.labels, *(("le",) if suffix == "_bucket" else ())})
    asked = list(questions())
    assert len(asked) > 50
    for expression, legend in asked:
        names = _NAME.findall(expression)
        assert names, expression
        for name in names:
            assert name in known, f"the dashboard asks for {name}, which there is not: {expression}"
            missing = (labels_in(expression) | labels_in(legend)) - known[name]
            assert not missing, f"{name} has no label {missing}: {expression}"
