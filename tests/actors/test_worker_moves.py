"""A worker's part in moves: real isolates on real V8; the test is the router, the gateway and the clock."""

from __future__ import annotations

import fcntl
from typing import Any

import pytest

from flora.messages.base import Failed, Ok
from flora.messages.dispatch import LoadIsolate, WorkerReport
from flora.messages.ids import GuildId, ReqId
from flora.messages.isolate import EndForMemory
from flora.messages.lifecycle import Peers, PeersChanged
from flora.messages.migration import DropFrozen, MoveOut, MovingGuild, ThawGuild
from flora.messages.secrets import GiveSecrets, GuildSecrets, LiveSecret

pytestmark = pytest.mark.service

GUILD = GuildId("55")
REPLIES = "on('messageCreate', async (c) => { await c.reply(c.msg.content) })"
TICKS = "let n = 0; setInterval(() => console.log('tick ' + ++n), 20);" + REPLIES
JOB = "cron('job', '0 0 1 1 *', () => {});"
STORES = "await kv.increment('loads');" + REPLIES


def move_out(worker: Any, req_id: str = "out", epoch: int = 1, limit_s: float = 0.5) -> None:
    worker.receiveMessage(MoveOut(req_id=ReqId(req_id), guild_id=GUILD, epoch=epoch, limit_s=limit_s), "router")


def thaw(worker: Any, epoch: int = 1, req_id: str = "thaw") -> Any:
    return worker.asks(ThawGuild(req_id=ReqId(req_id), guild_id=GUILD, epoch=epoch))


def moved_out(worker: Any, **more: Any) -> MovingGuild:
    move_out(worker, **more)
    reply = worker.until(lambda: worker.answer("out"))
    assert isinstance(reply, Ok), reply
    value: MovingGuild = reply.value
    return value


def turns(worker: Any) -> int:
    """How often code of the frozen isolate was entered."""
    return int(worker.session_of(worker._moves._frozen[GUILD].resident)._isolate.progress().turns)


def test_given_a_guild_at_rest_when_it_is_to_leave_then_it_is_handed_over_at_once_and_nothing_of_it_acts(make_worker):
    worker = make_worker()
    worker.load(TICKS)
    worker.receiveMessage(
        GiveSecrets(
            req_id=ReqId("give"),
            guild_id=GUILD,
            secrets=GuildSecrets(
                version=3,
                entries=(LiveSecret(name="KEY", placeholders=("holder",), value="hunter2", allowed_hosts=()),),
            ),
        ),
        "router",
    )

    moving = moved_out(worker)
    before = turns(worker)
    worker.dispatch(1, "too late")
    worker.until(lambda: worker.done().get(1) == "no_isolate")
    worker.pass_time(0.1)

    assert moving.script == TICKS
    assert [entry.value for entry in moving.secrets.entries] == ["hunter2"]
    assert "hunter2" not in repr(moving)
    assert turns(worker) == before, "its timers stand still"
    assert worker.bodies() == []


@pytest.mark.scenario("T47")
def test_given_a_frozen_guild_when_it_is_thawed_then_it_goes_on_with_all_it_knew(make_worker):
    worker = make_worker()
    worker.load(
        "let n = 0; on('messageCreate', async (c) => { await c.reply(String(++n)) }); setTimeout(() => n += 10, 30)"
    )
    worker.dispatch(1, "a")
    worker.until(worker.bodies)
    worker.settle_calls()
    moved_out(worker)
    worker.pass_time(0.1)

    answer = thaw(worker)
    worker.dispatch(2, "b")
    worker.until(lambda: len(worker.bodies()) == 2)

    assert answer.value == {"handlers": ("messageCreate",), "heard": 0}
    assert worker.bodies() == ["1", "12"], "and its timer has caught up"


@pytest.mark.scenario("T46")
def test_given_an_operation_that_does_not_end_when_its_guild_is_to_leave_then_it_stays_and_works(make_worker):
    worker = make_worker(dispatch_timeout_s=10)
    worker.load(JOB + "on('messageCreate', (c) => { void c.reply(c.msg.content) })")
    worker.dispatch(1, "a")
    worker.until(worker.bodies)
    jobs = worker._cron.jobs.describe(GUILD)

    move_out(worker, limit_s=0.05)
    reply = worker.until(lambda: worker.answer("out"))

    assert (reply.code, reply.message) == ("TIMED_OUT", "migration_quiesce timed out")
    worker.dispatch(2, "b")
    worker.until(lambda: "b" in worker.bodies())
    assert worker._cron.jobs.describe(GUILD) == jobs != []


@pytest.mark.scenario("T52")
def test_given_no_limit_when_a_guild_is_to_leave_then_it_is_waited_for_until_its_operation_has_ended(make_worker):
    worker = make_worker(dispatch_timeout_s=10)
    worker.load(REPLIES)
    worker.dispatch(1, "a")
    worker.until(worker.bodies)

    move_out(worker, limit_s=0)
    worker.pass_time(0.1)
    early = worker.answer("out")
    worker.settle_calls()

    assert early is None
    assert isinstance(worker.until(lambda: worker.answer("out")), Ok)
    worker.until(lambda: worker.done().get(1) == "ok")


@pytest.mark.scenario("T49")
def test_given_a_guild_that_is_not_here_when_it_is_to_leave_then_that_is_said(make_worker):
    worker = make_worker()

    move_out(worker)

    reply = worker.answer("out")
    assert (reply.code, reply.message) == ("NOT_FOUND", "guild runtime not loaded on worker")
    assert thaw(worker).code == "NOT_FOUND"


def test_given_open_stores_when_their_guild_leaves_then_their_lock_is_free_before_it_is_handed_over(make_worker):
    worker = make_worker()
    worker.load(STORES)
    lock = worker.settings.data_dir / "kv" / f"g-{GUILD}" / "lock"
    with lock.open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    moved_out(worker)

    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.scenario("T50")
@pytest.mark.scenario("T53")
def test_given_cron_jobs_when_their_guild_moves_then_they_keep_their_times_and_none_is_running(make_worker, tmp_path):
    source = make_worker()
    now_s = source._host.wall_clock()
    source.load("cron('job', '*/5 * * * * *', () => {});" + REPLIES)
    due_s = source._cron.jobs.next_due_s()

    moving = moved_out(source)
    (state,) = moving.jobs
    assert (state.due_s, source._cron.jobs.next_due_s()) == (due_s, None)
    load = LoadIsolate(
        req_id=ReqId("in"), guild_id=GUILD, script=moving.script, source_map=None, restore=True, jobs=moving.jobs
    )
    assert isinstance(source.asks(load), Ok)

    (job,) = source._cron.jobs.describe(GUILD)
    assert source._cron.jobs.next_due_s() == due_s > now_s
    assert (job["running"], job["waiting"]) == (False, False)
    assert source._moves.frozen_guilds() == ()


def test_given_a_frozen_guild_when_dropped_for_its_own_move_then_it_ends_and_for_another_it_stays(make_worker):
    worker = make_worker()
    worker.load(REPLIES)
    moved_out(worker, epoch=5)

    worker.receiveMessage(DropFrozen(guild_id=GUILD, epoch=4), "router")
    kept = worker._moves.frozen_guilds()
    worker.receiveMessage(DropFrozen(guild_id=GUILD, epoch=5), "router")
    worker.until(lambda: not worker._isolates.has(GUILD))

    assert kept == ((GUILD, 5),)
    assert worker._moves.frozen_guilds() == ()
    assert GUILD not in worker._secrets


def test_given_a_new_router_when_guilds_leave_then_it_hears_of_the_frozen_one_and_the_other_stays(make_worker):
    worker = make_worker(dispatch_timeout_s=10)
    other = GuildId("66")
    worker.load(REPLIES)
    moved_out(worker, epoch=5)
    worker.load(REPLIES, other)
    worker.dispatch(1, "a", guild_id=other)
    worker.until(worker.bodies)
    worker.receiveMessage(MoveOut(req_id=ReqId("late"), guild_id=other, epoch=6, limit_s=5), "router")

    worker.receiveMessage(PeersChanged(peers=Peers(router="router 2", gateway="gateway")), "runtime")

    (report,) = worker.got(WorkerReport)
    assert report.frozen == ((GUILD, 5),)
    assert [guild_id for guild_id, _ in report.guilds] == [other]
    assert isinstance(worker.answer("late"), Failed)


def test_given_nobody_who_says_what_becomes_of_it_then_a_frozen_guild_is_closed_in_the_end(make_worker):
    worker = make_worker()
    worker.load(REPLIES)
    moved_out(worker)

    worker.let_all_timers_pass()
    worker.until(lambda: not worker._isolates.has(GUILD))

    assert thaw(worker).code == "NOT_FOUND"


def test_given_a_frozen_guild_that_takes_too_much_memory_then_it_is_closed_and_does_not_come_back(make_worker):
    worker = make_worker()
    worker.load(REPLIES)
    moved_out(worker)
    worker._isolates.tell(worker._moves._frozen[GUILD].resident, EndForMemory(why="too much"))
    worker.until(lambda: not worker._isolates.has(GUILD))

    assert thaw(worker).code == "NOT_FOUND"
    assert worker.load(REPLIES).value["replaced"] is False
    assert worker._moves.frozen_guilds() == ()
