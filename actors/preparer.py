"""The actor that gets the stores ready at boot. A process of its own, because it waits, and nobody who supervises may."""

from __future__ import annotations

import logging

from flora.actors.base import FloraActor
from flora.actors.boot import adopt_kv_stores, migrate_database, wait_for_cache
from flora.messages.base import Address
from flora.messages.errors import BugError
from flora.messages.lifecycle import PrepareStorage

log = logging.getLogger(__name__)


class Preparer(FloraActor):
    """Migrates the database, makes the key-value stores that it names, and waits for the cache.

    Receives   PrepareStorage (runtime)
    Sends      Ok, Failed (runtime)
    State      none. Ended by Runtime when the stores are ready.
    Supervises nothing.
    Fails      the database refuses or is not reached → Failed, and the boot ends with its words.
    """

    def receiveMsg_PrepareStorage(self, msg: PrepareStorage, sender: Address) -> None:
        """Blocks until it is done; says how it goes in the process log."""
        match msg.what:
            case "database":
                migrate_database(self.settings.database, _say)
                adopt_kv_stores(self.settings, _say)
            case "cache":
                wait_for_cache(self.settings.cache, _say)
            case _:
                raise BugError(f"nothing called {msg.what} can be prepared")
        self.reply_ok(msg, sender)


def _say(text: str) -> None:
    log.info("%s", text)
