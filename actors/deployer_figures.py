"""What the deployer counts: deploys by how they ended, changes of secrets. On its loop; read from the actor's thread."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable
from typing import Any, TypeVar

from flora.messages.errors import FloraError
from flora.messages.metrics import Labels, Sample
from flora.messages.series import Histogram, counted

T = TypeVar("T")


class DeployerFigures:
    """Error codes are a bounded set: see `flora.messages.errors`."""

    def __init__(self) -> None:
        self._deploys: dict[Labels, Histogram] = {}  # (kind, outcome)
        self._changes: Counter[str] = Counter()

    async def timed(self, kind: str, work: Awaitable[T]) -> T:
        """A deploy, rollback or undeploy."""
        begun_s, outcome = time.monotonic(), "failed"
        try:
            result = await work
            outcome = "ok"
        except FloraError as exc:
            outcome = exc.code
            raise
        finally:
            histogram = self._deploys.setdefault((kind, outcome), Histogram("deploys"))
            histogram.add(int((time.monotonic() - begun_s) * 1e6))
        return result

    async def changes(self, change: str, work: Awaitable[T]) -> T:
        """A change of one secret; one that fails is none."""
        result = await work
        self._changes[change] += 1
        return result

    async def rotates(self, work: Awaitable[dict[str, Any]]) -> dict[str, Any]:
        """A rotation of all secrets; says how many."""
        found = await work
        self._changes["rotate"] += found["rotated"]
        return found

    def samples(self) -> dict[str, dict[Labels, Sample]]:
        """For `ReadMetrics`."""
        deploys = dict(self._deploys)  # one step: the loop may add meanwhile
        return {
            "deploys": {labels: histogram.sample() for labels, histogram in deploys.items()},
            "secret_changes": counted(dict(self._changes)),
        }
