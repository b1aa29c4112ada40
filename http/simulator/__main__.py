"""Runs the simulated Discord as a process of its own: `python -m flora.http.simulator --port 0`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from flora.http.simulator.config import DEFAULT_APPLICATION_ID, DEFAULT_TOKEN, SimulatorConfig
from flora.http.simulator.process import serve

SNAPSHOT_NAME = "simulated-discord.json"


def main(argv: list[str] | None = None) -> int:
    """Parses the command line and serves until SIGINT, SIGTERM or the end of the parent. Exits with 0."""
    parser = argparse.ArgumentParser(prog="python -m flora.http.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="where to listen; the control API is open to all there")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--data-dir", type=Path, help=f"keep the state there in {SNAPSHOT_NAME}; default: in memory")
    parser.add_argument("--ready-fd", type=int, help="write the ready line to this descriptor instead of stdout")
    parser.add_argument("--no-rate-limits", action="store_true", help="never answer 429")
    parser.add_argument("--no-demo-guild", action="store_true", help="start without a guild")
    parser.add_argument("--outlive-parent", action="store_true", help="do not stop when the starting process ends")
    args = parser.parse_args(argv)
    config = SimulatorConfig(
        host=args.host,
        port=args.port,
        # From the environment and not from the command line, which everybody on the machine can read.
        bot_token=os.environ.get("DISCORD_TOKEN") or DEFAULT_TOKEN,
        application_id=os.environ.get("DISCORD_CLIENT_ID") or DEFAULT_APPLICATION_ID,
        client_secret=os.environ.get("DISCORD_CLIENT_SECRET") or SimulatorConfig().client_secret,
        snapshot_path=args.data_dir / SNAPSHOT_NAME if args.data_dir else None,
        rate_limits=not args.no_rate_limits,
        demo_guild=not args.no_demo_guild,
    )
    serve(config, ready_fd=args.ready_fd, die_with_parent=not args.outlive_parent)
    return 0


if __name__ == "__main__":
    sys.exit(main())
