"""`flora workers`: the processes that guilds run in; and how many of them there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flora.scripts.cli.arguments import Args, Parser
from flora.scripts.cli.output import duration, print_json, safe, size

HEADER = ("WORKER", "KIND", "STATE", "GUILDS", "EVENTS", "RESTARTS", "AGE", "MEMORY", "PROCESSOR")


def add_to(parser: Parser) -> None:
    """Adds the command group; by itself it lists."""
    text = "list the workers, and change how many there are (for the operator)"
    group = parser.command("workers", text, run, json=True)
    group.command("list", "list the workers, with what each has and uses", run, json=True)
    command = group.command("scale", "have so many shared workers, until the next start", scale, json=True)
    command.add_argument("count", metavar="N", type=int, help="how many")
    _add_wait(command)
    command = group.command("drain", "move a worker's guilds to the others, and let none come", drain, json=True)
    _add_worker(command)
    _add_wait(command)
    command = group.command("undrain", "let guilds come to a drained worker again", undrain, json=True)
    _add_worker(command)
    _add_wait(command, force=False)
    command = group.command("recycle", "put a fresh worker in a worker's place", recycle, json=True)
    _add_worker(command)
    _add_wait(command)


def _add_worker(command: Parser) -> None:
    command.add_argument("worker", metavar="N", type=int, help="the worker's number")


def _add_wait(command: Parser, *, force: bool = True) -> None:
    command.add_argument(
        "--wait", action="store_true", help="return when it is done; exit code 1 when it does not get on"
    )
    if force:
        command.add_argument(
            "--force", action="store_true", help="end what does not come to rest; what it has under way fails"
        )


# Listing


def run(args: Args) -> int:
    """A table, and how a change stands; or the API's list as JSON."""
    from flora.scripts.cli.as_operator import connect_as_operator
    from flora.scripts.cli.pool_operations import describe

    client = connect_as_operator(args)
    found = client.get_json("/workers")
    if args.json:
        print_json(found)
        return 0
    print("\n".join(table(found)))
    for line in describe(client.get_json("/workers/pool")["operation"]):
        print(line)
    return 0


def table(workers: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per worker below a header, columns aligned."""
    rows = [HEADER, *(_row(facts) for facts in workers)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def state_of(facts: Mapping[str, Any]) -> str:
    """Up or down, or what is being done with a worker of the pool; `closed`: it runs, and no guild comes to it now."""
    pool_state = str(facts.get("pool_state") or "active")
    if not facts["up"]:
        return "down"
    if pool_state != "active":
        return safe(pool_state)
    return "up" if facts["dedicated"] or facts.get("accepts", True) else "closed"


def _row(facts: Mapping[str, Any]) -> tuple[str, ...]:
    memory, cpu_us, age_s = facts.get("rss_bytes"), facts.get("cpu_us"), facts.get("age_s")
    return (
        str(facts["worker"]),
        "dedicated" if facts["dedicated"] else "shared",
        state_of(facts),
        str(facts["guilds"]),
        str(facts["unfinished"]),
        str(facts["restarts"]),
        "?" if age_s is None else duration(age_s),
        "?" if memory is None else size(memory),
        "?" if cpu_us is None else duration(cpu_us / 1e6),
    )


# Changes


def scale(args: Args) -> int:
    """Returns at once, or with --wait when it is done."""
    return _order(args, "/workers/scale", {"count": args.count, "force": args.force})


def drain(args: Args) -> int:
    """Returns at once, or with --wait when it is done."""
    return _order(args, f"/workers/{args.worker}/drain", {"force": args.force})


def undrain(args: Args) -> int:
    """Returns at once, or with --wait when the others have given guilds up."""
    return _order(args, f"/workers/{args.worker}/undrain", {})


def recycle(args: Args) -> int:
    """Returns at once, or with --wait when the old worker has ended."""
    return _order(args, f"/workers/{args.worker}/recycle", {"force": args.force})


def _order(args: Args, path: str, body: Mapping[str, Any]) -> int:
    from flora.scripts.cli.as_operator import connect_as_operator
    from flora.scripts.cli.pool_operations import follow

    client = connect_as_operator(args)
    number = client.post_json(path, body)["operation"]
    if args.wait:
        return follow(client, number, as_json=args.json)
    if args.json:
        print_json({"operation": number})
    else:
        print(f"operation {number} has begun; `flora workers` shows how it goes")
    return 0
