"""`flora login`: keep an API token and the API's URL for the other commands."""

from __future__ import annotations

import sys

from flora.scripts.cli.arguments import Args, Parser
from flora.scripts.cli.errors import UsageError


def add_to(parser: Parser) -> None:
    """Adds the command."""
    command = parser.command("login", "check an API token and keep it for the other commands", run)
    command.add_argument("token_given", nargs="?", metavar="TOKEN", help="the token; - reads it from standard input")
    command.add_argument("--token", metavar="TOKEN", help="the token (wins over the positional one)")
    command.add_argument("--no-verify", action="store_true", help="keep it without asking the server")


def run(args: Args) -> int:
    """Saves only what the server knows, unless told otherwise."""
    from flora.scripts.cli import user_config
    from flora.scripts.cli.connection import ApiClient, chosen_api_url

    token = _token(args)
    api_url = chosen_api_url(args, user_config.load())
    who = ""
    if not args.no_verify:
        who = f" of user {ApiClient(api_url, token).get_json('/auth/me')['user']['id']}"
    path = user_config.save(apiUrl=api_url, token=token)
    print(f"Saved token{who} to config")
    print(f"  api   {api_url}")
    print(f"  file  {path}")
    return 0


def _token(args: Args) -> str:
    token: str | None = args.token or args.token_given
    if token == "-":
        token = sys.stdin.readline()
    elif token is None and sys.stdin.isatty() and sys.stdout.isatty():
        import getpass

        token = getpass.getpass("API token: ")
    token = (token or "").strip()
    if not token:
        raise UsageError("missing required value: API token (`flora token create` makes one on flora's host)")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError("this is no API token: it has characters that no token has")
    return token
