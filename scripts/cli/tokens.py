"""`flora token create`, `list`, `delete`: API tokens on flora's own host, without a browser."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from flora.scripts.cli.arguments import Args, Parser, required
from flora.scripts.cli.errors import CliError, UsageError
from flora.scripts.cli.output import note, print_json, safe

if TYPE_CHECKING:
    from flora.messages.settings import Settings

MAX_DAYS = 3_650
T = TypeVar("T")
_UNUSED_SECRETS = {
    "API_SECRET": "-" * 32,
    "SECRETS_MASTER_KEY": "0" * 64,
    "CLUSTER_SECRET": "-" * 32,
    "API_OPERATOR_SECRET": "-",
}


def add_to(parser: Parser) -> None:
    """Adds the command group."""
    group = parser.command("token", "manage API tokens on flora's host", None)
    where = "directly in the database of the flora that runs on this host"
    create = group.command("create", f"make an API token for a user, {where}", run_create, api=False, json=True)
    create.add_argument("--label", metavar="TEXT", help="what it is for")
    create.add_argument("--expires-in-days", metavar="N", help="when it ends by itself; never, if left out")
    listing = group.command("list", f"list the API tokens of a user, {where}", run_list, api=False, json=True)
    delete = group.command("delete", f"delete an API token of a user, {where}", run_delete, api=False)
    delete.add_argument("token_id", metavar="TOKEN_ID", help="the token's part before the dot")
    for command in (create, listing, delete):
        command.add_argument("--user", metavar="ID", help="the Discord user that the token acts as")
        command.add_argument(
            "--data-dir", metavar="FOLDER", help="flora's data folder (default ./data; FLORA_DATA_DIR)"
        )


def run_create(args: Args) -> int:
    """The token alone on stdout; it is shown only this once."""
    from flora.storage.postgres import create_token
    from flora.storage.token_text import MAX_LABEL_CHARS, is_label

    user = _user(args)
    if args.label is not None and not is_label(args.label):
        raise UsageError(f"--label must be at most {MAX_LABEL_CHARS} characters of text")
    expires_at = _expires_at(args.expires_in_days)
    token = _in_database(args, lambda url: create_token(url, user, args.label, expires_at))
    if args.json:
        print_json({"token": token})
    else:
        note(f"API token of user {user}; it is shown only this once:")
        print(token)
    return 0


def run_list(args: Args) -> int:
    """One line per token, newest first."""
    from flora.storage.postgres import list_tokens

    user = _user(args)
    found = _in_database(args, lambda url: list_tokens(url, user))
    if args.json:
        print_json([{name: _shown(value) for name, value in asdict(record).items()} for record in found])
        return 0
    if not found:
        print("No API tokens found.")
    now = datetime.now(UTC)
    for record in found:
        parts = [f"created {_day(record.created_at)}"]
        parts.append(f"used {_day(record.last_used_at)}" if record.last_used_at else "never used")
        if record.expires_at is not None:
            parts.append(f"{'expires' if record.expires_at > now else 'expired'} {_day(record.expires_at)}")
        print(f"{record.token_id:<14} {safe(record.label or '-'):<20} {', '.join(parts)}")
    return 0


def run_delete(args: Args) -> int:
    """Whoever uses the token is refused from now on."""
    from flora.storage.postgres import delete_token

    user, token_id = _user(args), args.token_id.partition(".")[0]
    if not _in_database(args, lambda url: delete_token(url, user, token_id)):
        raise CliError(f"user {user} has no token {safe(token_id)}")
    print(f"Deleted token {token_id} of user {user}")
    return 0


def _user(args: Args) -> str:
    user = required(args, "user", "user")
    if not (user.isascii() and user.isdecimal() and user[0] != "0" and len(user) <= 20):
        raise UsageError(f"--user must be a Discord user id, a number: {user}")
    return user


def _expires_at(days: str | None) -> datetime | None:
    if days is None:
        return None
    if not (days.isascii() and days.isdecimal() and 1 <= int(days[:6]) <= MAX_DAYS):
        raise UsageError(f"--expires-in-days must be a number from 1 to {MAX_DAYS}: {days}")
    return datetime.now(UTC) + timedelta(days=int(days))


def _shown(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def _day(instant: datetime) -> str:
    return instant.astimezone().strftime("%Y-%m-%d")


def _settings(args: Args) -> Settings:
    from flora.storage.config import load_settings_and_warnings

    # Only the database matters here. Secrets that are not needed must not be made either, least of all in a folder
    # where no flora has ever run.
    environ = {**os.environ, **_UNUSED_SECRETS}
    if args.data_dir is not None:
        environ["FLORA_DATA_DIR"] = args.data_dir
    settings, _ = load_settings_and_warnings(environ, Path.cwd())
    return settings


def _in_database(args: Args, work: Callable[[str], T]) -> T:
    from flora.messages.errors import Unavailable

    settings = _settings(args)
    try:
        return work(settings.database.url or _embedded_url(settings.data_dir))
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
