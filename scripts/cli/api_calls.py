"""What commands share that call the API and say what came of it. Imports nothing heavy before it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flora.scripts.cli.arguments import Args
from flora.scripts.cli.output import print_json

if TYPE_CHECKING:
    from flora.scripts.cli.connection import ApiClient


def connected(args: Args) -> ApiClient:
    """The API, with an API token."""
    from flora.scripts.cli.connection import connect

    return connect(args)


def quoted(text: str) -> str:
    """A text as one segment of a path."""
    from urllib.parse import quote

    return quote(text, safe="")


def tell(args: Args, answer: Any, text: str) -> int:
    """Prints the answer as JSON where that is wanted, else the text; exit code 0."""
    if args.json:
        print_json(answer)
    else:
        print(text)
    return 0
