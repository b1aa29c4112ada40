"""`flora logout`: forget the kept API token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flora.scripts.cli.arguments import Args, Parser
from flora.scripts.cli.errors import ApiError, CliError
from flora.scripts.cli.output import note

if TYPE_CHECKING:
    from flora.scripts.cli.connection import ApiClient


def add_to(parser: Parser) -> None:
    """Adds the command."""
    command = parser.command("logout", "forget the API token that `flora login` keeps", run)
    command.add_argument(
        "--revoke", action="store_true", help="also end the token on the server: it works nowhere any more"
    )


def run(args: Args) -> int:
    """With --revoke the token is kept until the server has ended it: a token that nobody knows cannot be ended."""
    from flora.scripts.cli import user_config
    from flora.scripts.cli.connection import ApiClient as Client
    from flora.scripts.cli.connection import chosen_api_url

    kept = user_config.load()
    token = str(kept.get("token") or "")
    if not token:
        print("Not logged in")
        return 0
    if args.revoke:
        api_url = str(kept.get("apiUrl") or chosen_api_url(args, kept))
        if args.api is not None and chosen_api_url(args, kept) != api_url:
            raise CliError(f"the kept token is for {api_url}; leave --api out")
        _revoke(Client(api_url, token))
    path = user_config.save(token=None)
    print("Revoked the token and removed it from config" if args.revoke else "Removed the token from config")
    print(f"  file  {path}")
    return 0


def _revoke(client: ApiClient) -> None:
    try:
        client.delete_json("/tokens/current")
    except ApiError as exc:
        if exc.status != 401:
            raise
        note("the server does not know the token any more")
