"""Every guest of tests/guests attacks once beside twenty healthy guilds of the same worker, which must not notice."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(150)]

GUESTS = Path(__file__).parents[1] / "guests"
TIMED_OUT = r"dispatch timed out"
OUT_OF_MEMORY = r"out of memory"
EITHER = f"{TIMED_OUT}|{OUT_OF_MEMORY}"  # whichever limit a busy machine comes to first
OUT_OF_BUFFERS = f"out of buffer memory|{TIMED_OUT}"
FINE = r"^fine$"

# One worker, so that everybody is a neighbour; short limits, so that the table takes two minutes.
SETTINGS = {
    "RUNTIME_MAX_WORKERS": "1",
    "RUNTIME_DISPATCH_TIMEOUT_SECS": "1",
    "RUNTIME_CRON_TIMEOUT_SECS": "1",
    "RUNTIME_LOAD_TIMEOUT_SECS": "1",
    "RUNTIME_MAX_HEAP_MB": "32",
}
GOOD = "on('messageCreate', async (msg) => { if (!msg.author.bot) await msg.reply('well: ' + msg.content) })"
MANY_PER_S = 2000
MAX_RATIO = 3.0
NOISE_MS = 10.0  # medians of 3 to 6 ms differ by that much on two busy cores, with no attack at all
MEASURED_AGAIN = 3
"""The other tests lengthen medians. One that is too long is measured again with the machine to itself, and because that may
have other guests, a few times: the best beside the attack is held against the worst without. A lost answer is never forgiven.
"""


@dataclass(frozen=True, slots=True)
class Attack:
    """One guest, how it is set off, and what its author reads."""

    guest: str
    told: str
    # "event": it gets "go"; "load": it is deployed; "redeploy": it gets "go", and a moment later another script; "cron": its job is run
    by: str = "event"
    times: int = 1
    for_s: float = 1.2
    quick: bool = False  # over in a moment, or only waits: several are set off at once
    aborts: bool = False  # V8 ends the process: the one thing that may restart the worker
    wedges: bool = False  # its isolate does not end either: the guild goes on in a worker of its own
    starves: bool = False  # what it has set going drowns its own lines in the log; only another script helps

    @property
    def placed(self) -> str:
        """Where its guild is afterwards."""
        return "quarantined" if self.aborts or self.wedges else "shared"

    def __str__(self) -> str:
        return self.guest if self.by != "redeploy" else f"{self.guest} ({self.by})"


ATTACKS = [
    # Never giving control back
    Attack("spins_forever", TIMED_OUT),
    Attack("spins_forever_and_refuses_to_stop", TIMED_OUT),
    Attack("spins_after_await", TIMED_OUT),
    Attack("spins_in_microtasks", TIMED_OUT),
    Attack("spins_in_a_timer", TIMED_OUT),
    Attack("spins_in_cron", "cron timed out", by="cron"),
    Attack("replaces_dispatch_by_a_loop", TIMED_OUT),
    Attack("loops_in_to_json", TIMED_OUT),
    Attack("loops_in_to_json_when_logged", TIMED_OUT),
    Attack("backtracks_forever", TIMED_OUT),
    Attack("grows_a_bigint", EITHER),
    Attack("sorts_forever", EITHER),
    Attack("searches_an_endless_array", "could not be ended", wedges=True, for_s=5.0),
    Attack("awaits_nobody", "Promise resolution is still pending", quick=True),
    Attack("awaits_nobody_beside_a_timer", TIMED_OUT, quick=True),
    # Memory
    Attack("eats_memory", EITHER),
    Attack("eats_memory_after_await", EITHER),
    Attack("eats_memory_and_catches", EITHER),
    Attack("eats_strings", EITHER),
    Attack("eats_typed_arrays", OUT_OF_BUFFERS, quick=True),
    Attack("fills_typed_arrays", OUT_OF_BUFFERS, quick=True),
    Attack("recurses_through_async", EITHER),
    Attack("keeps_a_leak", OUT_OF_MEMORY, times=200),
    Attack("leaks_closures", OUT_OF_MEMORY, times=10_000, for_s=6.0),
    Attack("fills_a_giant_array", "cannot fit into the heap limit", times=5, quick=True),
    Attack("splits_a_giant_text", "cannot fit into the heap limit", times=5, quick=True),
    Attack("aborts_v8", "in quarantine", aborts=True, for_s=4.0),
    Attack("aborts_v8_on_load", "", by="load", aborts=True, for_s=4.0),
    # Floods
    Attack("floods_timers", r"timers of this guild are pending already \(limit 1000\)", quick=True),
    Attack("floods_timers_that_repeat", r"timers of this guild are pending already \(limit 1000\)", starves=True),
    Attack("floods_ops", f"operations of this guild|{EITHER}"),
    Attack("floods_promises", EITHER),
    Attack("floods_fetch", FINE, times=2),
    Attack("floods_the_log", "lines dropped"),
    Attack("logs_a_megabyte", r"line cut", times=5, quick=True),
    Attack("rejects_unhandled", FINE, times=5, quick=True),
    # Errors of every kind
    Attack("recurses_forever", "Maximum call stack", times=5, quick=True),
    Attack("throws_from_getters", "dispatch failed", times=5, quick=True),
    Attack("sends_proxies", FINE, times=5, quick=True),
    Attack("nests_its_arguments", "nested too deeply", times=2, quick=True),
    # Tampering
    Attack("pollutes_prototypes_by_keys", FINE, times=5, quick=True),
    Attack("overwrites_json", FINE, times=5, quick=True),
    Attack("overwrites_promise", FINE, times=5, quick=True),
    Attack("overwrites_array_prototype", FINE, times=5, quick=True),
    Attack("replaces_dispatch_later", FINE, times=5, quick=True),
    # While it loads
    Attack("replaces_dispatch_by_junk", "Dispatch symbol is not a function", by="load", quick=True),
    Attack("throws_on_load", "broken on purpose", by="load", quick=True),
    Attack("spins_on_load", "module_load timed out", by="load"),
    Attack("spins_in_microtasks_on_load", "module_load timed out", by="load"),
    Attack("awaits_nobody_on_load", "module_load timed out", by="load", quick=True),
    Attack("eats_memory_on_load", "out of memory|module_load timed out", by="load"),
    # While its isolate is closed
    Attack("spins_forever_and_refuses_to_stop", "", by="redeploy"),
    Attack("spins_when_asked_to_end", "", by="redeploy"),
    Attack("spins_in_microtasks", "", by="redeploy"),
]


AT_ONCE = 4
QUICK = [attack for attack in ATTACKS if attack.quick]
ROUNDS = [(attack,) for attack in ATTACKS if not attack.quick]
ROUNDS += [tuple(QUICK[first : first + AT_ONCE]) for first in range(0, len(QUICK), AT_ONCE)]


@pytest.fixture(scope="module")
def neighbours(neighbours_of: Callable[..., object]):
    return neighbours_of(SETTINGS)


def test_given_the_guests_then_each_is_set_off_by_some_test():
    tests = "\n".join(path.read_text(encoding="utf-8") for path in GUESTS.parent.rglob("test_*.py"))

    assert [path.stem for path in GUESTS.glob("*.js") if f'"{path.stem}"' not in tests and path.name not in tests] == []


@pytest.mark.scenario("T26", "T30", "T31", "T32", "T33", "T40")
@pytest.mark.parametrize("attacks", ROUNDS, ids=lambda attacks: "+".join(map(str, attacks)))
def test_given_an_attack_when_twenty_neighbours_talk_then_each_is_answered_once_and_about_as_fast_as_ever(
    neighbours, attacks, refused, told_in_table, machine
):
    flora = neighbours.flora
    guilds = flora.new_guilds([None] * len(attacks))
    aborts = any(attack.aborts for attack in attacks)
    worker_before, restarts_before = flora.pid("worker 0"), flora.metrics()["runtime_restarts"]

    quiet_ms = neighbours.quiet_ms()
    beside_ms, told = measured_beside(neighbours, attacks, guilds, refused)
    if not as_usual(beside_ms, quiet_ms):
        with machine.alone():
            quiet_ms, beside_ms, told = measured_again(neighbours, attacks, guilds, refused)
    for attack, line in zip(attacks, told, strict=True):
        told_in_table(str(attack), quiet_ms, beside_ms, line)

    assert as_usual(beside_ms, quiet_ms)
    if not aborts:
        assert flora.pid("worker 0") == worker_before
    if {attack.placed for attack in attacks} == {"shared"}:
        assert flora.metrics()["runtime_restarts"] == restarts_before
    for attack, guild in zip(attacks, guilds, strict=True):
        assert flora.api("GET", f"/guilds/{guild.id}/status")["placement"] == attack.placed
        assert_answers_again(guild, attack)
        flora.sim("DELETE", f"/sim/guilds/{guild.id}")


def as_usual(beside_ms, quiet_ms) -> bool:
    return beside_ms <= MAX_RATIO * quiet_ms + NOISE_MS


def measured_beside(neighbours, attacks, guilds, refused) -> tuple[float, list[str]]:
    """The median of the neighbours while the attack lasts, and the lines that its authors read."""
    with neighbours.traffic(max(attack.for_s for attack in attacks)) as traffic:
        told = run_attacks(attacks, guilds, refused)
    neighbours.none_lost(traffic, worker_died=any(attack.aborts for attack in attacks))
    return traffic.median_ms, told


def measured_again(neighbours, attacks, guilds, refused) -> tuple[float, float, list[str]]:
    """The worst median without the attack, the best beside it, and the lines that its authors read."""
    quiet_ms, beside_ms, told = 0.0, float("inf"), []
    for _ in range(MEASURED_AGAIN):
        for guild in guilds:
            guild.deploy(GOOD)  # what the last attack may have left must not count as quiet
        quiet_ms = max(quiet_ms, neighbours.quiet_ms(fresh=True))
        median_ms, told = measured_beside(neighbours, attacks, guilds, refused)
        beside_ms = min(beside_ms, median_ms)
        if as_usual(beside_ms, quiet_ms):
            break
    return quiet_ms, beside_ms, told


def run_attacks(attacks, guilds, refused) -> list[str]:
    """Sets all off; gives the lines that their authors read."""
    with ThreadPoolExecutor(len(attacks)) as pool:
        return list(pool.map(lambda attack, guild: run_attack(attack, guild, refused), attacks, guilds))


def run_attack(attack, guild, refused) -> str:
    """Sets it off; gives the line that its author reads."""
    script = (GUESTS / f"{attack.guest}.js").read_text(encoding="utf-8")
    if attack.by == "load":
        with pytest.raises(refused) as caught:
            guild.deploy(script)
        assert re.search(attack.told, caught.value.message), caught.value.message
        return "" if attack.aborts else str(line_after(guild, "0", attack.told))
    guild.deploy(script)
    if attack.by == "cron":
        assert guild.flora.api("POST", f"/cron/{guild.id}/spin/run")["outcome"] == "timed_out"
        return str(line_after(guild, "0", attack.told))
    asked = guild.say("go")
    if attack.times > 1:
        many = {"channels": [guild.channel_id], "count": attack.times, "content": "go", "rate": MANY_PER_S}
        guild.flora.sim("POST", "/sim/burst", many)
    if attack.by == "redeploy":
        time.sleep(0.1)
        guild.deploy("on('messageCreate', async () => { console.log('fine') })")
        return ""
    return str(line_after(guild, asked, attack.told)) if attack.told else ""


def line_after(guild, message_id, pattern, within_s=12.0):
    since_ms = (int(message_id) >> 22) + 1_420_070_400_000
    deadline = time.monotonic() + within_s
    while True:
        new = [line["message"] for line in guild.logs() if line["timestamp"] >= since_ms]
        found = [text for text in new if re.search(pattern, text)]
        if found:
            return found[0]
        assert time.monotonic() < deadline, f"{pattern!r} is not in the guild's log: {[t[:300] for t in new[-10:]]}"
        time.sleep(0.02)


def assert_answers_again(guild, attack) -> None:
    """With the same script, where there is one that loads; in any case with a good one."""
    if attack.by != "load" and not attack.starves:
        asked = guild.say("hello")
        assert line_after(guild, asked, FINE)
    guild.deploy(GOOD)
    assert guild.ask("hello") == "well: hello"
