"""A soak of moves: guilds are moved, deployed, drained, scaled and killed at random under load, and no event may be lost or doubled.

Now and then the orders stop until the system has carried out what it was asked for. Then every guild must be active in exactly one
worker, and none of their stores open in two processes.
"""

from __future__ import annotations

import os
import signal
import time
import urllib.error
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from flora.scripts import ownership
from flora.scripts.bench_processes import Sandbox
from flora.scripts.soak_ledger import COUNTING_SCRIPT, Kill
from flora.scripts.soak_orders import Act, Order, Orders
from flora.scripts.soak_run import Plan, Soak
from flora.scripts.soak_traffic import OPERATOR

KILLED: Final = ("worker",)  # unless told otherwise
AT_ONCE: Final = 6  # orders under way
CHECK_EVERY_S: Final = 20.0
REST_LIMIT_S: Final = 60.0
REST_POLL_S: Final = 0.1
DEFINITE: Final = ("ok", "404", "409", "503", "504")
"""Answers that an order may have while others are carried out and processes die. Anything else is a problem."""
POOL: Final = "/workers/pool"


class MovesSoak(Soak):
    """Runs one plan; `run` gives the report."""

    SCRIPT = COUNTING_SCRIPT  # its version is called as in the text

    def __init__(self, plan: Plan, sandbox: Sandbox, say: Callable[[str], None]) -> None:
        super().__init__(plan, sandbox, say)
        self._orders = Orders(self._discord.guilds, plan.parts, plan.workers, plan.seed)
        self._answers: dict[Act, Counter[str]] = defaultdict(Counter)
        self._wrong: list[str] = []
        self._rests = 0
        self._data_dir = sandbox.folder / self._flora.name / "data"

    def disturb(self, until_s: float) -> None:
        """Gives orders without waiting for their answers, and looks now and then at what has become of them."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            while self._traffic.now_s() < until_s:
                self._give_orders(pool, min(until_s, self._traffic.now_s() + CHECK_EVERY_S))
                self._rest()

    def report_more(self) -> dict[str, Any]:
        """What goes into the report beside what every soak tells."""
        return {
            "orders": {act.value: dict(found) for act, found in sorted(self._answers.items())},
            "rests": self._rests,
            "problems": self._wrong,
        }

    # Orders

    def _give_orders(self, pool: ThreadPoolExecutor, until_s: float) -> None:
        given: list[Future[None]] = []
        while self._traffic.now_s() < until_s:
            time.sleep(self._orders.pause_s())
            if sum(not one.done() for one in given) >= AT_ONCE:
                continue
            found = self._pool()
            processes = dict(sorted(self._flora.pids().items()))
            order = self._orders.draw(found["members"], found["drained"], processes, self._traffic.now_s())
            if order is not None:
                given.append(pool.submit(self._carry_out, order))
        for one in given:
            one.result()

    def _carry_out(self, order: Order) -> None:
        if order.act is Act.KILL:
            assert order.number is not None
            with suppress(ProcessLookupError):
                os.kill(order.number, signal.SIGKILL)
            self._kills.append(Kill(part=order.title, at_s=self._traffic.now_s(), back_s=0.0, settled_s=0.0))
            self._answers[order.act]["ok"] += 1
            return
        answer, text = self._ask(*_request(order))
        self._answers[order.act][answer] += 1
        if order.act is Act.DEPLOY and answer == "503":
            self._traffic.ledgers[order.guild_id].loaded_again += 1
        if answer not in DEFINITE:
            at = f"at {self._traffic.now_s():.1f} s"
            self._wrong.append(f"{order.act} {order.guild_id or order.number} {at} was answered {answer}: {text}")

    def _ask(self, method: str, path: str, body: object) -> tuple[str, str]:
        try:
            self._flora.request(method, path, body, None if path.startswith("/deployments") else OPERATOR)
        except urllib.error.HTTPError as error:
            with error:
                return str(error.code), error.read(500).decode(errors="replace")
        except OSError as exc:
            return "none", str(exc)
        return "ok", ""

    def _pool(self) -> dict[str, Any]:
        """The members of the pool and its last operation; empty while the router is away."""
        with suppress(OSError):
            return dict(self._flora.api(POOL, OPERATOR))
        return {"members": [], "drained": [], "operation": None}

    # What must hold when all is done

    def _rest(self) -> None:
        """Waits until the pool is as it is to be and every guild serves, and looks at who has what."""
        for worker in self._pool()["drained"]:
            self._ask("POST", f"/workers/{worker}/undrain", {})
        began_s = self._traffic.now_s()
        found = self._amiss()
        while found and self._traffic.now_s() - began_s < REST_LIMIT_S:
            time.sleep(REST_POLL_S)
            found = self._amiss()
        took_s = self._traffic.now_s() - began_s
        self._wrong += [f"{one}, {took_s:.0f} s after the last order, at {began_s:.0f} s" for one in found]
        self._rests += 1
        self._traffic.collect_logs()
        done = ", ".join(f"{act} {found.total()}" for act, found in sorted(self._answers.items()))
        self._say(f"{began_s:6.1f} s  all came to rest after {took_s:.1f} s; so far: {done}")

    def _amiss(self) -> list[str]:
        """What is not as it is to be in the end: operations and moves under way, guilds that do not serve or are in two places."""
        try:
            pool = self._flora.api(POOL, OPERATOR)
            moves = self._flora.api("/moves", OPERATOR)
            guilds = self._flora.api("/guilds/status", OPERATOR)
            workers = self._flora.api("/workers", OPERATOR)
        except OSError as exc:
            return [f"the API does not answer ({exc})"]
        operation = pool["operation"]
        found = [] if operation is None or operation["state"] in {"done", "replaced"} else [f"{operation} goes on"]
        found += [f"a move goes on: {move}" for move in moves if move["state"] not in {"moved", "failed"}]
        up = {worker["worker"] for worker in workers if worker["up"]}
        found += [f"worker {member} does not run" for member in pool["members"] if member not in up]
        found += [f"worker {one['worker']} is still there" for one in _superfluous(pool, workers)]
        for guild in guilds:
            if guild["worker"] not in up or guild["usage"] is None or guild["state"] != "serving":
                found.append(f"guild {guild['guild_id']} does not serve: {guild}")
        if len(guilds) != len(self._discord.guilds):
            found.append(f"{len(guilds)} guilds have a script")
        return found + ownership.problems(self._data_dir, self._discord.guilds)


def _superfluous(pool: Mapping[str, Any], workers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in workers if not one["dedicated"] and one["worker"] not in pool["members"]]


def _request(order: Order) -> tuple[str, str, object]:
    """Method, path and body."""
    match order.act:
        case Act.MIGRATE:
            to = {} if order.number is None else {"to": order.number}
            return "POST", f"/guilds/{order.guild_id}/migrate", to
        case Act.DEPLOY:
            return (
                "POST",
                f"/deployments/{order.guild_id}",
                {"entry": "main.js", "bundle": COUNTING_SCRIPT.replace("VERSION", str(order.number))},
            )
        case Act.SCALE:
            return "POST", "/workers/scale", {"count": order.number}
    return "POST", f"/workers/{order.number}/{order.act}", {}
