"""Options that several commands share, and a parser that helps when one is misspelt."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from flora.messages.version import VERSION
from flora.scripts.cli.errors import CliError, UsageError

Args = argparse.Namespace


class Parser(argparse.ArgumentParser):
    """As argparse, but flags are never guessed from their beginning, and what is unknown gets a suggestion."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)
        self._subcommands: argparse._SubParsersAction[Parser] | None = None

    def add_version(self) -> None:
        self.add_argument("--version", action="version", version=f"flora {VERSION}")

    def add_common(self, *, api: bool = True, json: bool = False) -> None:
        """Options that may stand before and after the command's name."""
        # SUPPRESS: the same option of the inner parser must not overwrite with its default what the outer one has read.
        if api:
            self.add_argument("-a", "--api", metavar="URL", default=argparse.SUPPRESS, help="API URL, including /api")
        if json:
            self.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
        self.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show where an error comes from"
        )

    def add_guild(self) -> None:
        self.add_argument("-g", "--guild", metavar="ID", help="the guild's id")

    def add_yes(self) -> None:
        self.add_argument("-y", "--yes", action="store_true", help="do not ask")

    def command(
        self,
        name: str,
        help_text: str,
        run: Callable[[Args], int] | None,
        aliases: Sequence[str] = (),
        **common: bool,
    ) -> Parser:
        """Adds a command; without `run` it only groups others. `aliases` are names by which older clients know it."""
        if self._subcommands is None:
            self._subcommands = self.add_subparsers(metavar="COMMAND", parser_class=Parser)
        child = self._subcommands.add_parser(name, aliases=aliases, help=help_text, description=help_text)
        child.set_defaults(parser=child)
        if run is not None:
            child.set_defaults(run=run)
            child.add_common(**common)
        return child

    def option_names(self) -> list[str]:
        return [name for action in self._actions for name in action.option_strings]

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action is self._subcommands and action.choices is not None and value not in action.choices:
            self.error(f"unknown command: {value}" + _suggestion(value, list(action.choices)))
        super()._check_value(action, value)

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Usage error about arguments that nobody takes."""
        first = unknown[0]
        if first.startswith("-"):
            name = first.partition("=")[0]
            self.error(f"unknown option: {name}" + _suggestion(name, self.option_names()))
        self.error(f"unexpected argument: {first}")


def parse(parser: Parser, argv: Sequence[str]) -> Args:
    """Reads the command line; ends the program with exit code 2 when it makes no sense."""
    args, unknown = parser.parse_known_args(argv)
    chosen: Parser = getattr(args, "parser", parser)
    if unknown:
        chosen.refuse(unknown)
    if not hasattr(args, "run"):
        chosen.print_help(sys.stderr)
        sys.exit(UsageError.exit_code)
    for name, default in (("api", None), ("json", False), ("debug", False)):
        if not hasattr(args, name):
            setattr(args, name, default)
    return args


def required(args: Args, name: str, label: str) -> str:
    """The value of an option; asks a person at a terminal when it was not given.

    Raises:
        UsageError: it was not given, and there is nobody to ask.
    """
    value: str | None = getattr(args, name)
    if value is None and sys.stdin.isatty() and sys.stdout.isatty():
        value = input(f"{label}: ")
    if value is None or not value.strip():
        raise UsageError(f"missing required value: {label} (--{name})")
    return value.strip()


def confirm(question: str, args: Args, *, only_people: bool = False) -> None:
    """Returns when what cannot be undone is wanted: with `--yes`, or when a person at a terminal says so.

    Args:
        only_people: Where nobody can be asked, go on: for what programs have always done without.
    Raises:
        UsageError: nobody can be asked.
        CliError: it is not wanted.
    """
    can_ask = sys.stdin.isatty() and sys.stdout.isatty()
    if args.yes or (only_people and not can_ask):
        return
    if not can_ask:
        raise UsageError("nobody can be asked here; add --yes")
    if input(f"{question} [y/N] ").strip().lower() not in {"y", "yes"}:
        raise CliError("nothing was done")


def _suggestion(wrong: str, known: list[str]) -> str:
    close = difflib.get_close_matches(wrong, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""
