"""How the process log speaks of a worker that has too much to do. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flora.actors.placement_policy import Dimension, Imbalance, WorkerLoad


def imbalance_sentence(imbalance: Imbalance, loads: Sequence[WorkerLoad]) -> str:
    """What is wrong, as half a sentence."""
    figures = imbalance_figures(imbalance, loads)
    return f"worker {imbalance.worker} is far over the mean ({figures['dimension']}): {figures['has']}, the mean is {figures['mean']}"


def imbalance_figures(imbalance: Imbalance, loads: Sequence[WorkerLoad]) -> dict[str, Any]:
    """The same as fields for the process log."""
    dimension = imbalance.dimension
    accepting = [load.of(dimension) for load in loads if load.accepts]
    has = next((load.of(dimension) for load in loads if load.worker == imbalance.worker), 0.0)
    mean = sum(accepting) / max(1, len(accepting))
    return {
        "worker": imbalance.worker,
        "dimension": dimension.name.lower(),
        "has": _for_people(dimension, has),
        "mean": _for_people(dimension, mean),
        "loads": {load.worker: _for_people(dimension, load.of(dimension)) for load in loads},
    }


def _for_people(dimension: Dimension, value: float) -> str:
    match dimension:
        case Dimension.PROCESSOR:
            return f"{value * 100:.0f} %"
        case Dimension.MEMORY:
            return f"{value / (1 << 20):.0f} MB"
        case Dimension.BACKLOG:
            return f"{value:.0f}"
