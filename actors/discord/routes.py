"""Discord REST paths with their ids already in them: which bucket they share, how to show them."""

from __future__ import annotations

import re
from functools import lru_cache

from disnake.http import Route

APPLICATION = "{app}"
"""In a route: our application's id, which workers do not know."""
_ID = re.compile(r"/\d+")
_TOKEN = re.compile(r"^/(webhooks|interactions)/([^/]+)/[^/]+")
_WITHOUT_TOKEN = r"/\1/\2/…"
_REACTION = re.compile(r"/reactions/.*")


class CallRoute(Route):
    """A route of disnake's HTTP client for a ready path such as `/channels/1/messages`."""

    def __init__(self, method: str, path: str) -> None:
        super().__init__(method, path)
        self._bucket = bucket_of(method, path)

    @property
    def bucket(self) -> str:
        """What shares one rate limit: method, shape of the path, and the channel, guild or webhook it is about.

        disnake builds it from a template and its parameters, and leaves the method out; a script's path has none.
        """
        return self._bucket


@lru_cache(maxsize=8192)
def bucket_of(method: str, path: str) -> str:
    """Bucket of a ready path: `DELETE /channels/1/messages/2` → `DELETE /channels/1/messages/*`."""
    majors = (
        4 if path.startswith(("/webhooks/", "/interactions/")) else 3
    )  # "", resource, id, and the token of these two
    parts = path.split("/", majors)
    tail = "/" + parts[majors] if len(parts) > majors else ""
    return f"{method} {'/'.join(parts[:majors])}{_ID.sub('/*', _REACTION.sub('/reactions/*', tail))}"


@lru_cache(maxsize=8192)
def template_of(method: str, path: str) -> str:
    """A ready path without what is different in each call: `DELETE /channels/{id}/messages/{id}`. As many as there are operations."""
    bare = _REACTION.sub("/reactions/{emoji}", _TOKEN.sub(r"/\1/{id}/{token}", path).replace(APPLICATION, "{id}"))
    return f"{method} {_ID.sub('/{id}', bare)}"


def shown(method: str, path: str) -> str:
    """`METHOD /path` for people; tokens of webhooks and interactions are left out."""
    return f"{method} {_TOKEN.sub(_WITHOUT_TOKEN, path)}"
