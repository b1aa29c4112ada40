"""What can be set on the simulated Discord."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_TOKEN = "MTAwMDAwMDAwMDAwMDAwMDAwMQ.simulated.discord-bot-token"
"""Has the three parts of a real token, so that whatever checks the form of one accepts it."""

DEFAULT_APPLICATION_ID = "1000000000000000001"
API_PREFIX = "/api/v10"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """Settings of one simulated Discord. The defaults behave as Discord does; tests and benchmarks loosen them."""

    host: str = "127.0.0.1"  # whoever reaches the control API may do anything in here: keep it on loopback
    port: int = 0  # 0: any free port
    bot_token: str = field(default=DEFAULT_TOKEN, repr=False)
    application_id: str = DEFAULT_APPLICATION_ID
    client_secret: str = field(default="simulated-client-secret", repr=False)
    redirect_uris: tuple[str, ...] = ()  # empty: any http(s) address
    bot_name: str = "flora"
    snapshot_path: Path | None = None  # where guilds and messages survive a restart; None: they do not
    demo_guild: bool = True  # make a guild with a general channel when there is none
    rate_limits: bool = True
    global_limit_per_s: int = 50
    shards: int = 1  # what is recommended to clients
    interaction_response_limit_s: float = 3.0
    interaction_token_limit_s: float = 900.0
    heartbeat_interval_ms: int = 41_250
    session_ttl_s: float = 180.0  # how long a session without a connection can be resumed
    replay_limit: int = 10_000  # dispatches kept per session for a resume
    compression_level: int = 6
    privileged_intents: bool = True  # False: identifying with one of them closes with 4014, as on Discord
    max_messages_per_channel: int = 1_000
    max_attachment_bytes: int = 10 * 1024 * 1024
    max_stored_attachment_bytes: int = 64 * 1024 * 1024
