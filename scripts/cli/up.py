"""`flora up`: run the whole system in the foreground."""

from __future__ import annotations

import os
from pathlib import Path

from flora.scripts.cli.arguments import Args, Parser
from flora.scripts.cli.output import note

_FLAGS = (
    ("--address", "API_ADDRESS", "IP", "address to serve the API on (default 0.0.0.0)"),
    ("--port", "API_PORT", "PORT", "port to serve the API on (default 3000; 0 picks a free one)"),
    ("--data-dir", "FLORA_DATA_DIR", "FOLDER", "folder for everything that is kept (default ./data)"),
)


def add_to(parser: Parser) -> None:
    """Adds the command."""
    text = "run flora here until it is interrupted; settings come from the environment and config.toml"
    command = parser.command("up", text, run, api=False)
    for flag, variable, metavar, explanation in _FLAGS:
        command.add_argument(flag, dest=variable, metavar=metavar, help=f"{explanation}; {variable}")


def run(args: Args) -> int:
    """Loads the settings and hands over to the launcher."""
    from flora.storage.config import load_settings_and_warnings

    given = {variable: value for _, variable, _, _ in _FLAGS if (value := getattr(args, variable)) is not None}
    settings, warnings = load_settings_and_warnings({**os.environ, **given}, Path.cwd())
    for warning in warnings:
        note(f"warning: {warning}")
    from flora.scripts.launch import (
        run as run_until_stopped,
    )  # brings everything with it; a wrong setting is told first

    return run_until_stopped(settings)
