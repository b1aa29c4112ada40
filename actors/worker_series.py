"""What a worker counts with labels. Pure. On the worker's thread, but for `fills_refused`, which the loop of its fetches adds to."""

from __future__ import annotations

from collections import Counter

from flora.actors.discord.payloads import PAYLOADS
from flora.actors.isolate.runs import CRON_PREFIX
from flora.messages.metrics import Labels, Sample
from flora.messages.series import Histogram, Histograms, alone, counted

CRON = "cron"


class WorkerSeries:
    """One per worker; its isolates and parts share it."""

    def __init__(self) -> None:
        self.waits = Histogram("worker_wait")
        self.cron_lateness = Histogram("cron_lateness")
        self.kv_ops: Counter[Labels] = Counter()  # (kind, outcome)
        self.kv_of_scripts, self.kv_of_clients = Histogram("kv_time"), Histogram("kv_time")
        self.fetches: Counter[str] = Counter()  # by outcome
        self.secrets_given = 0
        self.fills_refused: Counter[str] = Counter()  # by reason
        self._dispatches = Histograms("dispatch", (*PAYLOADS, CRON))

    def ended(self, name: str, outcome: str, elapsed_us: int) -> None:
        """The run of an event, or of a cron job, has come to its end."""
        self._dispatches.add(CRON if name.startswith(CRON_PREFIX) else name, outcome, elapsed_us)

    def samples(self) -> dict[str, dict[Labels, Sample]]:
        """For `ReadMetrics`."""
        return {
            "dispatch": self._dispatches.samples(),
            "worker_wait": alone(self.waits.sample()),
            "cron_lateness": alone(self.cron_lateness.sample()),
            "kv": counted(self.kv_ops),
            "kv_time": {("script",): self.kv_of_scripts.sample(), ("client",): self.kv_of_clients.sample()},
            "fetches": counted(self.fetches),
            "secrets_given": alone(self.secrets_given),
            "secret_fills_refused": counted(dict(self.fills_refused)),
        }
