"""What the deployer counts."""

from __future__ import annotations

from typing import Any

import pytest

from flora.actors.deployer_figures import DeployerFigures
from flora.messages.errors import LoadFailed, Unavailable


async def ended(result: Any) -> Any:
    if isinstance(result, Exception):
        raise result
    return result


async def test_given_deploys_that_end_in_every_way_when_timed_then_each_is_counted_and_goes_on_as_it_was() -> None:
    figures = DeployerFigures()

    assert await figures.timed("deploy", ended({"id": 1})) == {"id": 1}
    for error in (LoadFailed("no"), ZeroDivisionError()):
        with pytest.raises(type(error)):
            await figures.timed("deploy", ended(error))
    await figures.timed("undeploy", ended(None))

    assert {labels: sum(sample[0]) for labels, sample in figures.samples()["deploys"].items()} == {
        ("deploy", "ok"): 1,
        ("deploy", LoadFailed.code): 1,
        ("deploy", "failed"): 1,
        ("undeploy", "ok"): 1,
    }


async def test_given_changes_of_secrets_when_counted_then_those_that_failed_are_none_and_a_rotation_is_as_many_as_it_did() -> (
    None
):
    figures = DeployerFigures()
    await figures.changes("set", ended({}))
    with pytest.raises(Unavailable):
        await figures.changes("delete", ended(Unavailable("away")))
    await figures.rotates(ended({"rotated": 7}))

    assert figures.samples()["secret_changes"] == {("set",): 1, ("rotate",): 7}
