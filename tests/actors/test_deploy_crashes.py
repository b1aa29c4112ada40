"""The deployer dies at every step of a deploy, a rollback and an undeploy: what runs and what is stored agree once another has taken over.

A step is any call of the store or of the host. The process dies right before it, or right after it, when nobody has heard of its
outcome yet; store and router live on. The same with real processes: tests/faults/test_killed_between_steps.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flora.actors.compile_cache import Script
from flora.actors.deploy_service import DeployService
from flora.messages.deployment import Compiled, Deploy, DeployActor, RollBack, Undeploy
from flora.messages.errors import FloraError, LoadFailed
from flora.messages.ids import GuildId, ReqId
from flora.storage.memory import MemoryAuditLog, MemoryDeploymentStore

G = GuildId("1")
ANN = DeployActor(kind="token", user_id="7", username="ann")
MOST_STEPS = 30

Operation = Callable[[DeployService], Awaitable[object]]


class Died(BaseException):
    """The process is gone: nothing catches this."""


class Router:
    """What the router and the workers keep while the deployer dies: what runs, and whether somebody said that it is stored."""

    def __init__(self) -> None:
        self.running: dict[GuildId, str] = {}
        self.unstored: set[GuildId] = set()

    async def compile(self, guild_id: GuildId, script: Script) -> Compiled:
        return Compiled(script=script.bundle or "", source_map=None)

    async def load(self, guild_id: GuildId, compiled: Compiled, *, restore: bool) -> None:
        if "throws" in compiled.script:
            raise LoadFailed("Error: throws")
        self.running[guild_id] = compiled.script
        if restore:
            self.unstored.discard(guild_id)
        else:
            self.unstored.add(guild_id)

    def stored(self, guild_id: GuildId) -> None:
        self.unstored.discard(guild_id)

    async def unload(self, guild_id: GuildId) -> None:
        self.running.pop(guild_id, None)
        self.unstored.discard(guild_id)


class Mortal:
    """Counts the calls of what is behind it, and dies before or after one of them."""

    def __init__(self, target: object, steps: Steps) -> None:
        self._target = target
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        if not asyncio.iscoroutinefunction(method):
            return lambda *args, **more: self._steps.take(lambda: method(*args, **more), name)

        async def call(*args: Any, **more: Any) -> Any:
            self._steps.before(name)
            result = await method(*args, **more)
            self._steps.after()
            return result

        return call


class Steps:
    """Which call is the last one, and whether it is still carried out."""

    def __init__(self, last: int, *, carried_out: bool) -> None:
        self._last = last
        self._carried_out = carried_out
        self.names: list[str] = []

    def before(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) > self._last or (len(self.names) == self._last and not self._carried_out):
            raise Died

    def after(self) -> None:
        if len(self.names) == self._last:
            raise Died

    def take(self, method: Callable[[], Any], name: str) -> Any:
        self.before(name)
        result = method()
        self.after()
        return result


def a_deploy(bundle: str) -> Deploy:
    return Deploy(
        req_id=ReqId("d"), guild_id=G, entry="m.js", files=None, bundle=bundle, source_map=None, source="api", actor=ANN
    )


def make_service(store: Any, host: Any) -> DeployService:
    starter = Script(entry="m.js", files=None, bundle="starter", source_map=None)
    return DeployService(
        store, host, max_script_bytes=1000, workers=1, starter=lambda: starter, sleep=lambda _: asyncio.sleep(0)
    )


async def deploy(service: DeployService) -> object:
    return await service.deploy(a_deploy("new"))


async def deploy_what_throws(service: DeployService) -> object:
    return await service.deploy(a_deploy("throws"))


async def roll_back(service: DeployService) -> object:
    first = (await service._store.history(G, 10))[-1]
    return await service.roll_back(
        RollBack(req_id=ReqId("r"), guild_id=G, revision_id=first.revision_id, source="api", actor=ANN)
    )


async def undeploy(service: DeployService) -> object:
    return await service.undeploy(Undeploy(req_id=ReqId("u"), guild_id=G, source="api", actor=ANN))


async def crash(operation: Operation, scripts: list[str], steps: Steps) -> tuple[Router, MemoryDeploymentStore, bool]:
    """Runs an operation until the process dies, then lets another one take over. True: it had come to its end before that."""
    router, store = Router(), MemoryDeploymentStore(audit=MemoryAuditLog())
    before = make_service(store, router)
    for script in scripts:
        await before.deploy(a_deploy(script))
    mortal = make_service(Mortal(store, steps), Mortal(router, steps))
    mortal.adopt([G] if scripts else [], [])
    done = True
    try:
        await operation(mortal)
    except FloraError:
        pass
    except Died:
        done = False

    successor = make_service(store, router)
    successor.adopt(list(router.running), list(router.unstored))
    while successor._steps.tasks:
        await asyncio.gather(*successor._steps.tasks)
    await successor.present([G], complete=True)
    return router, store, done


@pytest.mark.parametrize("carried_out", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("operation", "scripts", "least_steps"),
    [(deploy, ["old"], 6), (deploy, [], 6), (deploy_what_throws, ["old"], 5), (roll_back, ["old", "other"], 8), (undeploy, ["old"], 4)],
    ids=["deploy", "first deploy", "deploy that fails", "rollback", "undeploy"],
)  # fmt: skip
async def test_given_a_deployer_that_dies_at_any_step_then_what_runs_is_what_is_stored(
    operation: Operation, scripts: list[str], least_steps: int, carried_out: bool
) -> None:
    for last in range(1, MOST_STEPS):
        steps = Steps(last, carried_out=carried_out)

        router, store, done = await crash(operation, scripts, steps)

        stored = await store.current(G)
        assert router.running.get(G) == (stored.bundle if stored else None), f"died at {steps.names[-1:]}"
        latest = await store.latest_success(G, include_bundle=True, must_be_live=True)
        assert (latest.bundle if latest else None) == (stored.bundle if stored else None)
        if done:
            assert last > least_steps
            return
    raise AssertionError("it never comes to its end")
