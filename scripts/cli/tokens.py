"""`flora token create`: make an API token on flora's own host, without a browser."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from flora.scripts.cli.arguments import Args, Parser, required
from flora.scripts.cli.errors import CliError, UsageError
from flora.scripts.cli.output import note, print_json

if TYPE_CHECKING:
    from flora.messages.settings import Settings

MAX_LABEL_CHARS = 100
_UNUSED_SECRETS = {
    "API_SECRET": "-" * 32,
    "SECRETS_MASTER_KEY": "0" * 64,
    "CLUSTER_SECRET": "-" * 32,
    "API_OPERATOR_SECRET": "-",
}


def add_to(parser: Parser) -> None:
    """Adds the command group."""
    group = parser.command("token", "manage API tokens on flora's host", None)
    text = "make an API token for a user, directly in the database of the flora that runs on this host"
    command = group.command("create", text, run, api=False, json=True)
    command.add_argument("--user", metavar="ID", help="the Discord user that the token acts as")
    command.add_argument("--label", metavar="TEXT", help="what it is for")
    command.add_argument("--data-dir", metavar="FOLDER", help="flora's data folder (default ./data; FLORA_DATA_DIR)")


def run(args: Args) -> int:
    """The token alone on stdout; it is shown only this once."""
    user = required(args, "user", "user")
    if not (user.isascii() and user.isdecimal() and user[0] != "0" and len(user) <= 20):
        raise UsageError(f"--user must be a Discord user id, a number: {user}")
    if args.label is not None and (len(args.label) > MAX_LABEL_CHARS or "\0" in args.label):
        raise UsageError(f"--label must be at most {MAX_LABEL_CHARS} characters of text")
    token = _create(_settings(args), user, args.label)
    if args.json:
        print_json({"token": token})
    else:
        note(f"API token of user {user}; it is shown only this once:")
        print(token)
    return 0


def _settings(args: Args) -> Settings:
    from flora.storage.config import load_settings_and_warnings

    # Only the database matters here. Secrets that are not needed must not be made either, least of all in a folder
    # where no flora has ever run.
    environ = {**os.environ, **_UNUSED_SECRETS}
    if args.data_dir is not None:
        environ["FLORA_DATA_DIR"] = args.data_dir
    settings, _ = load_settings_and_warnings(environ, Path.cwd())
    return settings


def _create(settings: Settings, user: str, label: str | None) -> str:
    from flora.messages.errors import Unavailable
    from flora.storage.postgres import create_token

    url = settings.database.url or _embedded_url(settings.data_dir)
    try:
        return create_token(url, user, label)
    except Unavailable as exc:
        if settings.database.url:
            raise CliError(f"{exc}; check database.url (DATABASE_URL)") from exc
        raise CliError(
            f"flora does not run on the data folder {settings.data_dir}; start it (`flora up`), then try again"
        ) from exc


def _embedded_url(data_dir: Path) -> str:
    """Where the Postgres that `flora up` starts by itself listens, from what it wrote down."""
    from urllib.parse import quote

    folder = data_dir / "services" / "postgres"
    try:
        password = json.loads((folder / "passwords.json").read_text(encoding="utf-8"))["flora"]
        options = dict(
            line.split(" = ", 1) for line in (folder / "flora.conf").read_text(encoding="utf-8").splitlines() if line
        )
    except FileNotFoundError:
        raise CliError(
            f"no flora has run on the data folder {data_dir}; go to the folder where it runs, or give --data-dir"
        ) from None
    except PermissionError:
        raise CliError(f"the data folder {data_dir} belongs to another user; run this as that user") from None
    sockets = options["unix_socket_directories"].strip("'").replace("''", "'")
    return f"postgresql://flora:{password}@/flora?host={quote(sockets, safe='')}"
