"""Talking to the API as the operator of this host."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from flora.scripts.cli import this_folder, user_config
from flora.scripts.cli.arguments import Args
from flora.scripts.cli.connection import ApiClient, chosen_api_url, connect, is_loopback
from flora.scripts.cli.errors import CliError

SECRET_VARIABLE = "FLORA_OPERATOR_SECRET"


def connect_as_operator(args: Args) -> ApiClient:
    """The API, with the operator's secret: FLORA_OPERATOR_SECRET, else the one of the flora that runs on this host.

    Raises:
        CliError: there is none, or this host's would have to be sent to another one.
    """
    api_url = chosen_api_url(args, user_config.load())
    secret = os.environ.get(SECRET_VARIABLE) or _secret_of_this_host(api_url)
    if not secret:
        raise CliError(
            f"this needs the operator's secret; run it in the folder where flora runs, or set {SECRET_VARIABLE}"
        )
    return ApiClient(api_url, secret)


def connect_as_either(args: Args) -> ApiClient:
    """The API as the operator if we can be that, else with an API token."""
    try:
        return connect_as_operator(args)
    except CliError:
        return connect(args)


def _secret_of_this_host(api_url: str) -> str | None:
    return this_folder.operator_secret() if is_loopback(urlsplit(api_url).hostname or "") else None
