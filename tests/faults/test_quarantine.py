"""Scripts that end their worker: they get a worker of their own, their neighbours lose nothing, and a good deployment brings them back."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from flora.actors.placement import BLAMED_FOR_A_KILL_S

pytestmark = [pytest.mark.service, pytest.mark.fault, pytest.mark.timeout(90)]

GUESTS = Path(__file__).parents[1] / "guests"
PROBATION_S = 1.0
SETTINGS = {
    "RUNTIME_MAX_WORKERS": "1",
    "RUNTIME_DISPATCH_TIMEOUT_SECS": "2",
    "RUNTIME_QUARANTINE_PROBATION_S": str(PROBATION_S),
}
ABORT = """
  let text = 'xx'
  while (text.length <= 2 ** 27) text += text.length < 2 ** 27 ? text : 'xx'
  RegExp('x', 'g')[Symbol.match](text)
"""
ECHO = "on('messageCreate', async (msg) => { if (!msg.author.bot) await msg.reply(msg.content) })"
ABORTS_ON_GO = f"""
on('messageCreate', async (msg) => {{
  if (msg.author.bot) return
  if (msg.content === 'go') {{ {ABORT} }}
  await msg.reply(msg.content)
}})
"""
SPINS_ON_GO = """
on('messageCreate', async (msg) => {
  if (msg.author.bot) return
  await msg.reply('begin ' + msg.content)
  if (msg.content === 'go') { while (true) {} }
})
"""
SEARCHES_ON_GO = """
on('messageCreate', async (msg) => {
  if (msg.author.bot) return
  await msg.reply('begin ' + msg.content)
  if (msg.content === 'go') {
    const holes = []
    holes[1e9] = 1
    holes.indexOf(2)
  }
})
"""


@pytest.fixture(scope="module")
def flora(broken_flora):
    return broken_flora


@pytest.fixture
def pair(flora):
    """Two guilds in the one shared worker: one to misbehave, one beside it."""
    bad, neighbour = flora.new_guilds([None, None])
    neighbour.deploy(ECHO)
    return bad, neighbour


def own_worker(guild) -> str:
    return f"worker for guild {guild.id}"


def has_own_worker(flora, guild) -> bool:
    return f"flora: {own_worker(guild)}" in flora.processes().values()


def quarantined(flora, wait_for, guild) -> None:
    wait_for(lambda: has_own_worker(flora, guild), 10, f"{guild.id} has no worker of its own:\n{flora.stderr_tail()}")


@pytest.mark.scenario("T34")
def test_given_a_script_that_aborts_v8_then_only_it_is_quarantined_and_everything_that_waited_follows_in_order(
    flora, pair, wait_for
):
    bad, neighbour = pair
    bad.deploy(ABORTS_ON_GO)
    first = bad.say("go")
    waiting = [bad.say(str(number)) for number in range(5)]
    theirs = [neighbour.say(f"n{number}") for number in range(20)]

    for number, message_id in enumerate(theirs):
        assert neighbour.reply_to(message_id) == f"n{number}"
    for number, message_id in enumerate(waiting):
        assert bad.reply_to(message_id) == str(number)
    assert bad.said_by_bot(first) == [str(number) for number in range(5)], "each once, in order, the started one never"
    assert neighbour.said_by_bot(theirs[0]) == [f"n{number}" for number in range(20)]
    assert has_own_worker(flora, bad), [line["message"] for line in bad.logs()]
    assert not has_own_worker(flora, neighbour)
    assert flora.metrics()["guilds_quarantined"] >= 1
    assert "while messageCreate was running" in bad.log_line("V8 aborted (SIG")["message"] or bad.log_line(
        "while messageCreate was running"
    )
    assert bad.log_line("the script now runs in quarantine")["level"] == "error"
    assert not any("quarantine" in line["message"] for line in neighbour.logs())
    (died,) = [hop for hops in bad.traces() for hop in hops if hop.outcome == "died"]
    assert "V8 aborted" in died.why
    assert died.why.endswith("the script now runs in a worker of its own")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_given_a_quarantined_guild_when_its_process_is_looked_at_then_the_systems_limits_are_in_force(
    flora, pair, wait_for
):
    bad, neighbour = pair
    bad.deploy(ABORTS_ON_GO)
    bad.say("go")
    quarantined(flora, wait_for, bad)
    assert bad.ask_until_answered("well", within_s=10) == "well"
    assert neighbour.ask_until_answered("well", within_s=10) == "well"

    own = limits_of(flora.pid(own_worker(bad)))
    shared = limits_of(flora.pid("worker 0"))

    assert own["Max core file size"] == shared["Max core file size"] == "0"
    assert own["Max open files"] == "1024"
    assert "unlimited" not in (own["Max address space"], own["Max data size"])
    assert own["NoNewPrivs"] == shared["NoNewPrivs"] == "1"
    assert shared["Max address space"] == "unlimited"


def limits_of(pid: int) -> dict[str, str]:
    """Hard limits of a process, and whether it may gain privileges."""
    rows = Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = {row[:26].strip(): row[26:].split()[1] for row in rows}
    return found | {"NoNewPrivs": next(line.split()[1] for line in status if line.startswith("NoNewPrivs"))}


def test_given_a_good_deployment_then_the_guild_leaves_quarantine_without_losing_an_event(flora, pair, wait_for):
    bad, _ = pair
    bad.deploy(ABORTS_ON_GO)
    bad.say("go")
    quarantined(flora, wait_for, bad)
    assert bad.ask("still here") == "still here"
    recorder = newest_recorder(flora)

    bad.deploy(ECHO)
    said = [bad.say("0")]
    deadline = time.monotonic() + PROBATION_S + 8
    while has_own_worker(flora, bad):
        assert time.monotonic() < deadline, flora.stderr_tail()
        said.append(bad.say(str(len(said))))
        bad.reply_to(said[-1])
    said.append(bad.say(str(len(said))))

    assert bad.reply_to(said[-1]) == str(len(said) - 1)
    assert bad.said_by_bot(said[0]) == [str(number) for number in range(len(said))], "each once, in order"
    assert bad.log_line("has left quarantine")["level"] == "info"
    assert not recorder.exists(), "its flight recorder is gone with it"


def newest_recorder(flora) -> Path:
    """Of the worker that was started last for one guild: their numbers rise."""
    return max((flora.folder / "data" / "run").glob("worker-1???-*.recorder"))


def test_given_a_kill_from_outside_then_nobody_is_quarantined_and_at_the_second_who_ran_both_times_is(
    flora, pair, wait_for
):
    bad, neighbour = pair
    bad.deploy(SPINS_ON_GO)
    for kill in range(2):
        assert bad.reply_to(bad.say("go")) == "begin go"
        restarts = flora.metrics()["worker_deaths"]
        time.sleep(2 * BLAMED_FOR_A_KILL_S)  # how long it has been at it is what makes it suspect
        flora.kill("worker 0")
        wait_for(lambda before=restarts: flora.metrics()["worker_deaths"] > before, 5, "the router has not noticed")
        assert neighbour.ask_until_answered("ping", within_s=10) == "ping"
        assert bad.ask_until_answered("well", within_s=10) == "begin well"
        assert has_own_worker(flora, bad) is (kill == 1)
    assert not has_own_worker(flora, neighbour)


def test_given_a_deployment_that_aborts_v8_while_it_loads_then_it_is_refused_and_the_old_script_answers(
    flora, pair, wait_for, refused
):
    bad, neighbour = pair
    bad.deploy(ECHO)

    with pytest.raises(refused) as caught:
        bad.deploy(ABORT)

    assert caught.value.status == 503
    assert bad.ask_until_answered("old", within_s=10) == "old"
    assert neighbour.ask_until_answered("ping", within_s=10) == "ping"
    assert has_own_worker(flora, bad)
    shared = flora.pid("worker 0")
    with pytest.raises(refused):
        bad.deploy(ABORT)
    assert bad.ask_until_answered("old", within_s=10) == "old"
    assert flora.pid("worker 0") == shared, "the second time only its own worker was at stake"


def test_given_an_isolate_that_cannot_be_ended_then_its_guild_goes_on_elsewhere_at_once_and_neighbours_notice_nothing(
    flora, pair, wait_for
):
    bad, neighbour = pair
    bad.deploy(SEARCHES_ON_GO)
    asked = bad.say("go")
    assert bad.reply_to(asked) == "begin go"
    waiting = [bad.say(str(number)) for number in range(3)]

    for number, message_id in enumerate(waiting):
        assert bad.reply_to(message_id, within_s=15) == f"begin {number}"
    assert bad.said_by_bot(asked) == ["begin go", *(f"begin {number}" for number in range(3))]
    assert neighbour.ask("ping") == "ping"
    assert bad.log_line("could not be ended")["level"] == "error"


@pytest.mark.scenario("T35")
def test_given_a_script_that_ends_its_worker_at_every_load_then_it_has_failed_and_a_good_deployment_brings_it_back(
    flora, pair, wait_for
):
    bad, neighbour = pair
    # Loads well when it is deployed, and aborts at every load from three seconds on.
    bad.deploy(f"if (Date.now() > {int(time.time() * 1000) + 3000}) {{ {ABORT} }}\n{ABORTS_ON_GO}")
    time_is_up = time.monotonic() + 3.1
    wait_for(lambda: time.monotonic() > time_is_up, 5, "")

    bad.say("go")

    bad.log_line("is not started any more", within_s=40)
    wait_for(lambda: not has_own_worker(flora, bad), 5, "its worker still runs")
    assert bad.log_line("the script is started again in")["level"] == "warn"
    assert neighbour.ask("ping") == "ping"
    bad.deploy(ECHO)
    assert bad.ask("well") == "well"


def test_given_a_quarantine_when_flora_is_started_again_then_it_is_remembered(make_flora, wait_for):
    flora = make_flora(SETTINGS).start()
    bad = flora.new_guild()
    bad.deploy(ABORTS_ON_GO)
    bad.say("go")
    quarantined(flora, wait_for, bad)
    assert bad.ask_until_answered("well", within_s=10) == "well"

    assert flora.stop(signal.SIGINT, within_s=15) == 0
    flora.start()

    assert has_own_worker(flora, bad)
    assert bad.ask("well") == "well"
