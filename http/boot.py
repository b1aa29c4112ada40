"""What the server knows of the rest of the system while that starts: Runtime's last word about it."""

from __future__ import annotations

from flora.messages.errors import Unavailable
from flora.messages.lifecycle import SystemStage


class BootState:
    """Used on the server's asyncio loop only."""

    def __init__(self) -> None:
        self.latest: SystemStage | None = None  # None: nothing was said; then everything is tried

    def update(self, stage: SystemStage) -> None:
        """Runtime has said something new."""
        self.latest = stage

    @property
    def unready(self) -> SystemStage | None:
        """Where the boot, or the end, is; None when the system serves or nothing is known."""
        return self.latest if self.latest is not None and not self.latest.ready else None

    def check_storage(self) -> None:
        """Returns when callers can be looked up in the database.

        Raises:
            Unavailable: it is not known yet to have this version's tables.
        """
        stage = self.unready
        if stage is not None and not stage.storage_ready:
            raise Unavailable(f"flora is starting ({stage.stage}); try again in a moment", stage=stage.stage)
