from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from flora.actors.router_cron import RUN_MARGIN_S, CronCalls
from flora.messages.base import Failed, Ok
from flora.messages.cron import ListCronJobs, RunCronJob
from flora.messages.ids import GuildId, ReqId

G = GuildId("55")
LIST = ListCronJobs(req_id=ReqId("mine"), guild_id=G)
RUN = RunCronJob(req_id=ReqId("mine"), guild_id=G, job="a")


class Shell:
    """Plays the router."""

    def __init__(self, cron_timeout_s: float = 5) -> None:
        self.settings = SimpleNamespace(runtime=SimpleNamespace(cron_timeout_s=cron_timeout_s))
        self.sent: list[Any] = []
        self.asked: list[tuple[Any, Any, float]] = []
        self.on_reply: Any = None

    def send(self, to: Any, message: Any) -> None:
        self.sent.append((to, message))

    def reply_failed(self, request: Any, asker: Any, error: Any) -> None:
        self.sent.append((asker, error.as_failed(request.req_id)))

    def ask(self, to: Any, request: Any, on_reply: Any, limit_s: float) -> None:
        self.asked.append((to, request, limit_s))
        self.on_reply = on_reply


def state(*, held: bool = False, address: Any = "worker 0") -> Any:
    return SimpleNamespace(
        lanes={G: SimpleNamespace(worker=0, held=held)}, workers={0: SimpleNamespace(address=address)}
    )


@pytest.mark.parametrize("answer", [Ok(req_id=ReqId("w"), value=[1]), Failed(req_id=ReqId("w"), code="X", message="y")])
def test_given_a_guild_that_runs_when_somebody_asks_then_its_worker_answers(answer):
    shell = Shell()

    CronCalls(shell, state()).pass_on(LIST, "front-end")
    shell.on_reply(answer)

    assert shell.asked[0][:2] == ("worker 0", LIST)
    ((to, reply),) = shell.sent
    assert (to, reply.req_id, type(reply)) == ("front-end", "mine", type(answer))


@pytest.mark.parametrize(("limit_s", "waits_s"), [(5, 5 + RUN_MARGIN_S), (0, 0)])
def test_given_a_run_when_it_is_asked_for_then_it_is_waited_for_as_long_as_it_may_take(limit_s, waits_s):
    shell = Shell(limit_s)

    CronCalls(shell, state()).pass_on(RUN, "front-end")

    assert shell.asked[0][2] == waits_s


@pytest.mark.parametrize(
    ("known", "code"),
    [
        (SimpleNamespace(lanes={}, workers={}), "NOT_FOUND"),
        (state(held=True), "UNAVAILABLE"),
        (state(address=None), "UNAVAILABLE"),
    ],
)
def test_given_a_guild_that_does_not_run_now_when_somebody_asks_then_that_is_said_at_once(known, code):
    shell = Shell()

    CronCalls(shell, known).pass_on(RUN, "front-end")

    assert [(to, reply.code) for to, reply in shell.sent] == [("front-end", code)]
    assert shell.asked == []
