"""`flora health`: does the server answer, and does the whole system serve?"""

from __future__ import annotations

from typing import Any

from flora.scripts.cli.arguments import Args, Parser
from flora.scripts.cli.errors import ApiError
from flora.scripts.cli.output import note, print_json, safe


def add_to(parser: Parser) -> None:
    """Adds the command."""
    text = "ask whether the server answers; exit code 1 when it does not"
    command = parser.command("health", text, run, json=True)
    command.add_argument("--ready", action="store_true", help="fail also while the system is still starting")


def run(args: Args) -> int:
    """Prints what the server says of itself. Needs no token."""
    from flora.scripts.cli.connection import ApiClient, connect

    client: ApiClient = connect(args, as_somebody=False)
    health = client.get_text("/health").strip()
    if not (args.ready or args.json):
        print(safe(health))
        return 0
    state = readiness(client)
    if args.json:
        print_json({"health": health, **state})
    elif state["ready"]:
        print("ready")
    else:
        note(f"not ready: {safe(str(state['stage']))}")
    return 1 if args.ready and not state["ready"] else 0


def readiness(client: Any) -> dict[str, Any]:
    """What GET /api/ready says, whatever its status: {"ready", "stage"}, and "progress" while it starts."""
    try:
        state: dict[str, Any] = client.get_json("/ready")
    except ApiError as error:
        if error.status != 503:
            raise
        more = {"progress": error.details["progress"]} if isinstance(error.details.get("progress"), dict) else {}
        return {"ready": False, "stage": str(error.details.get("stage") or error), **more}
    return state
