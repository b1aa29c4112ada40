"""`flora status`: how everything is, or how one guild is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flora.scripts.cli.arguments import Args, Parser
from flora.scripts.cli.output import duration, local_time, plural, print_json, safe, size

if TYPE_CHECKING:
    from flora.scripts.cli.connection import ApiClient

Facts = Mapping[str, Any]
MOST_LISTED = 20


def add_to(parser: Parser) -> None:
    """Adds the command."""
    text = "show how flora is (for its operator), or how one guild is (for its owner, too)"
    command = parser.command("status", text, run, json=True)
    command.add_argument("guild_id", metavar="GUILD", nargs="?", help="the guild's id")


def run(args: Args) -> int:
    """A few lines, or the API's answers as JSON."""
    from flora.scripts.cli.as_operator import connect_as_either, connect_as_operator

    if args.guild_id is None:
        return _show_system(connect_as_operator(args), as_json=args.json)
    from urllib.parse import quote

    found = connect_as_either(args).get_json(f"/guilds/{quote(args.guild_id, safe='')}/status")
    if args.json:
        print_json(found)
    else:
        print("\n".join(guild_lines(found)))
    return 0


def _show_system(client: ApiClient, *, as_json: bool) -> int:
    from flora.scripts.cli.health import readiness

    state = readiness(client)
    if not state["ready"]:
        if as_json:
            print_json(state)
        else:
            print(f"not ready: {safe(str(state['stage']))}{_progress_text(state.get('progress'))}")
        return 1
    workers, guilds = client.get_json("/workers"), client.get_json("/guilds/status")
    if as_json:
        print_json({**state, "workers": workers, "guilds": guilds})
    else:
        print("\n".join(system_lines(workers, guilds)))
    return 0


def system_lines(workers: Sequence[Facts], guilds: Sequence[Facts]) -> list[str]:
    """What a person wants to know of the whole: sums, and who is not as it should be."""
    down = [str(facts["worker"]) for facts in workers if not facts["up"]]
    dedicated = sum(facts["dedicated"] for facts in workers)
    states = Counter(str(facts["state"]) for facts in guilds)
    waiting = sum(facts["waiting"] + facts["unfinished"] for facts in guilds)
    memory = sum(facts["rss_bytes"] or 0 for facts in workers)
    listed = ", ".join(f"{count} {state}" for state, count in sorted(states.items(), key=lambda item: -item[1]))
    lines = [
        "ready",
        f"workers  {len(workers) - dedicated} shared, {dedicated} dedicated"
        + (f"; down: {', '.join(down)}" if down else "")
        + f"; {size(memory)} of memory",
        f"guilds   {len(guilds)}" + (f": {listed}" if listed else ""),
        f"events   {waiting} waiting or running",
    ]
    odd = [facts for facts in guilds if facts["state"] != "serving" or facts["placement"] == "quarantined"]
    for facts in odd[:MOST_LISTED]:
        reason = f": {safe(str(facts['reason']))}" if facts.get("reason") else ""
        lines.append(f"  {facts['guild_id']:<20} {facts['state']}, {facts['placement']}{reason}")
    if len(odd) > MOST_LISTED:
        lines.append(f"  and {plural(len(odd) - MOST_LISTED, 'guild')} more (--json lists all)")
    return lines


def guild_lines(facts: Facts) -> list[str]:
    """One guild for a person."""
    usage: Facts = facts.get("usage") or {}
    state = str(facts["state"])
    if usage.get("resting_s"):
        state += f", tries again in {duration(usage['resting_s'])}"
    lines = [
        f"guild      {facts['guild_id']}",
        f"state      {state}",
        f"worker     {'none' if facts['worker'] is None else facts['worker']} ({facts['placement']})",
    ]
    if facts.get("reason"):
        since = f" (since {local_time(facts['since'])})" if facts.get("since") else ""
        lines.append(f"reason     {safe(str(facts['reason']))}{since}")
    lines.append(
        f"events     {facts['waiting']} waiting, {facts['unfinished']} running, {_count(usage, 'events_done')} done"
    )
    return lines + (_usage_lines(usage) if usage else [])


def _usage_lines(usage: Facts) -> list[str]:
    cpu = f"{duration(usage.get('cpu_us', 0) / 1e6)}, {duration(usage.get('cpu_us_last_minute', 0) / 1e6)} in the last minute"
    lines = [f"processor  {cpu}; throttled {plural(usage.get('throttled') or 0, 'time')}"]
    heap = usage.get("heap_bytes")
    buffers = size(usage.get("buffer_bytes") or 0)
    lines.append(f"memory     {'unknown' if heap is None else size(heap)} of heap, {buffers} of buffers")
    lines.append(
        f"pending    {plural(usage.get('timers') or 0, 'timer')}, {plural(usage.get('pending_ops') or 0, 'operation')}"
    )
    lines.append(
        f"refused    {plural(usage.get('ops_refused') or 0, 'operation')}, "
        f"{plural(usage.get('log_lines_dropped') or 0, 'log line')}"
    )
    lines.append(f"rebuilds   {usage.get('rebuilds') or 0}")
    return lines


def _count(usage: Facts, name: str) -> str:
    value = usage.get(name)
    return "?" if value is None else str(value)


def _progress_text(progress: Facts | None) -> str:
    if not progress:
        return ""
    text = f" (step {progress.get('step')} of {progress.get('steps')}"
    if "deployments" in progress:
        text += f"; {progress['restored'] + progress['failed']} of {plural(progress['deployments'], 'deployment')}"
    return text + ")"
