"""Lines for the audit log on their way to who stores them."""

from __future__ import annotations

import asyncio
import logging

import pytest

from flora.actors import audit_trail
from flora.actors.audit_pruning import keep_pruned
from flora.actors.audit_trail import AuditTrail
from flora.messages.audit import AuditLine
from flora.messages.base import TraceContext
from flora.messages.deployment import DeployActor
from flora.messages.errors import StorageError, Unavailable
from flora.messages.ids import GuildId
from flora.messages.settings import AuditSettings
from flora.messages.trace import current_trace, working_on
from flora.storage.memory import MemoryAuditLog

G = GuildId("1")
ANN = DeployActor(kind="session", user_id="7", username="ann")


class Shaky:
    """Stores lines, after as many failures as it is told to."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.stored: list[AuditLine] = []
        self.batches: list[int] = []

    async def write(self, lines: tuple[AuditLine, ...]) -> None:
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        self.batches.append(len(lines))
        self.stored += lines


async def no_time(_: float) -> None:
    await asyncio.sleep(0)


def record_some(trail: AuditTrail, count: int) -> list[str]:
    targets = [f"t{number}" for number in range(count)]
    for target in targets:
        trail.record(G, ANN, "secret.set", target)
    return targets


async def test_given_a_store_that_comes_back_when_lines_are_told_then_all_arrive_in_order():
    store = Shaky(Unavailable("restarting"), Unavailable("restarting"))
    trail = AuditTrail(store.write, no_time)

    targets = record_some(trail, 250)
    await trail.written(5)

    assert [line.target for line in store.stored] == targets
    assert sorted(store.stored, key=lambda line: line.at) == store.stored
    assert len({line.at for line in store.stored}) == 250
    assert store.batches == [100, 100, 50]
    assert trail.lost == 0


async def test_given_a_store_that_refuses_a_line_then_its_loss_is_told_and_the_next_ones_are_stored(caplog):
    store = Shaky(StorageError("no"))
    trail = AuditTrail(store.write, no_time)
    trail.record(G, ANN, "kv.delete", "bad")
    await trail.written(5)

    trail.record(G, ANN, "kv.delete", "good")
    await trail.written(5)

    assert [line.target for line in store.stored] == ["good"]
    assert trail.lost == 1
    assert "audit line lost (no): kv.delete bad" in caplog.text


async def test_given_a_store_that_stays_away_then_the_number_that_waits_is_bounded_and_the_rest_is_told(
    caplog, monkeypatch
):
    monkeypatch.setattr(audit_trail, "MAX_WAITING", 2)

    async def away(_: tuple[AuditLine, ...]) -> None:
        await asyncio.Event().wait()

    trail = AuditTrail(away)

    record_some(trail, 3)
    assert trail.lost == 1
    await trail.written(0.01)

    assert trail.lost == 3
    assert [record.target for record in caplog.records if record.levelno == logging.ERROR] == ["t2", "t0", "t1"]


async def test_given_texts_no_store_can_keep_then_they_are_cleaned_and_cut():
    store = Shaky()
    trail = AuditTrail(store.write)

    trail.record(
        None, DeployActor(kind="token", username="a\0b"), "token.create", "x" * 5000, {"label": "\ud800", "n": 1}
    )
    await trail.written(5)

    (line,) = store.stored
    assert (line.actor.username, len(line.target), line.details) == ("a\ufffdb", 1002, {"label": "?", "n": 1})


@pytest.mark.parametrize(
    ("settings", "kept"), [(AuditSettings(keep_days=0, keep_rows=0), 3), (AuditSettings(keep_rows=2), 2)]
)
async def test_given_limits_when_the_time_comes_then_the_log_is_pruned(settings, kept):
    audit = MemoryAuditLog()
    trail = AuditTrail(audit.record)
    record_some(trail, 3)
    await trail.written(5)

    async def stop(_: float) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await keep_pruned(audit, settings, stop)

    assert len(await audit.page(10)) == kept


async def test_given_a_line_of_a_traced_request_when_it_is_stored_then_that_belongs_to_no_trace():
    stored_under: list[TraceContext | None] = []

    async def write(_: tuple[AuditLine, ...]) -> None:
        stored_under.append(current_trace.get())

    trail = AuditTrail(write, no_time)
    with working_on(TraceContext(trace_id="ab" * 16)):
        record_some(trail, 1)
        await trail.written(5)

    assert stored_under == [None]
