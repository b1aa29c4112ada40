"""Settings as the whole system sees them: plain frozen data, sent to each actor when it starts.

Loaded and checked by `flora.storage.config`. Keys, environment names and defaults: README, "Configuration".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from flora.messages.placement import Placement

MAX_WORKERS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """Workers, isolates and their limits. A limit of 0 seconds or milliseconds means no limit."""

    max_workers: int = 4  # clamped to 1…64 by the loader
    worker_queue_capacity: int = 1024
    boot_timeout_s: float = 5
    load_timeout_s: float = 30
    dispatch_timeout_s: float = 3
    cron_timeout_s: float = 5
    shutdown_timeout_s: float = 10  # here 0 means at once
    migration_timeout_ms: int = 500
    max_script_bytes: int = 8_388_608
    max_bundle_files: int = 200
    max_bundle_total_bytes: int = 1_048_576
    max_cron_jobs: int = 32
    cpu_share_percent: int = 50  # of one core, per guild; 0: no budget
    cpu_burst_ms: int = 5000
    max_pending_ops: int = 1000
    ops_per_second: int = 500  # twice as many at once; 0: no limit
    log_lines_per_second: int = 100  # five times as many at once; 0: no limit
    max_timers: int = 1000
    rest_timeout_ms: int = 8000
    guild_concurrency: int = 4
    guild_overlap: int = 16
    max_heap_mb: int = 64
    max_buffer_mb: int = 64  # typed arrays of one isolate, beside its heap
    max_worker_memory_mb: int = 0  # resident; 0: a share of what the machine or its cgroup has
    placement: Placement = Placement.SHARED  # of guilds that nobody has pinned; SHARED or DEDICATED
    quarantine_probation_s: float = 300  # how long a new deployment must stay healthy; 0: it leaves quarantine at once
    rebalance: bool = True  # guilds move by themselves from busy workers; False: figures decide nothing
    rebalance_interval_s: float = 5  # between two looks at the load
    rebalance_after_s: float = 30  # so long a worker must have had too much to do
    rebalance_over_percent: int = 25  # of a core over the workers' mean: from there it is too much
    rebalance_cool_down_s: float = 600  # so long a guild that moved stays
    rebalance_max_moves: int = 8  # at once
    hot_guild_percent: int = 40  # of a core, for five minutes: it should have a worker of its own; 0: never
    dedicate_hot_guilds: bool = False  # and gets one by itself
    worker_max_age_s: float = 0  # an older worker is recycled; 0: never for its age
    worker_recycle_mb: int = 0  # resident; a larger one is recycled; 0: never for its memory
    pin_workers: bool = True  # where there are more cores than workers
    show_internal_stack_frames: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchSettings:
    """What scripts may fetch. Internal addresses are refused; `allow` makes exceptions: networks or names, with or without port."""

    enabled: bool = True
    timeout_ms: int = 10_000  # of a whole fetch, redirects and waiting for a turn included; 0: none
    max_response_bytes: int = 5_242_880  # as sent and as unpacked
    max_request_bytes: int = 1_048_576
    max_redirects: int = 5
    concurrency: int = 6  # per guild; more wait for their turn
    allow: tuple[str, ...] = ()


class KvBackendKind(StrEnum):
    """Where key-value stores are."""

    FILES = "files"  # of this machine
    POSTGRES = "postgres"  # for more than one machine


@dataclass(frozen=True, slots=True, kw_only=True)
class KvSettings:
    """Key-value stores of scripts."""

    backend: KvBackendKind = KvBackendKind.FILES
    durability: str = "interval"  # or "always": no write is answered before it is on the disk
    sync_interval_ms: int = 1000  # with "interval": so much may be lost when the power fails
    writes_per_minute: int = 0  # per store; 0: as many as it can take
    max_store_bytes: int = 104_857_600
    max_guild_bytes: int = 524_288_000
    max_store_keys: int = 1_000_000  # on files, where an open store's keys are in memory
    max_stores: int = 100  # per guild


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Guilds' log lines on disk."""

    max_guild_kb: int = 1024
    max_total_mb: int = 512  # over it the largest guild's oldest lines go first


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSettings:
    """Traces: which events are followed, and how much is kept on disk. Slow and failed ones are kept whatever the rate."""

    enabled: bool = True
    events_per_second: int = 50  # of the whole system, followed from the beginning; 0: only slow and failed ones
    slow_ms: int = 500
    max_mb: int = 64  # all processes' files; over it guilds give up what they have beyond their share


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """Postgres. An unset `url` means the embedded server; the launcher fills in where it listens."""

    url: str | None = field(default=None, repr=False)
    max_connections: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """Redis or Valkey. An unset `url` means the embedded server; the launcher fills in where it listens."""

    url: str | None = field(default=None, repr=False)
    pool_size: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """The HTTP front-end."""

    address: str = "0.0.0.0"
    port: int = 3000  # 0: any free port
    secret: str = field(default="", repr=False)
    cookie_ttl_secs: int = 2_592_000
    cookie_secure: bool = False  # the loader: true where discord.redirect_uri is https
    operator_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscordSettings:
    """Discord, or the simulated one when there is no token."""

    simulated: bool = True
    bot_token: str = field(default="", repr=False)
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    redirect_uri: str = ""  # where a login ends; empty, with the simulated one only: where it began
    api_base: str = ""  # e.g. https://discord.com/api/v10; the launcher fills in the simulator's
    authorize_url: str = ""  # the page where people log in; the launcher fills in the simulator's
    intents: tuple[str, ...] = ("all",)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretsSettings:
    """Encryption of guild secrets, and where they may be sent."""

    master_key: bytes = field(default=b"", repr=False)
    previous_keys: tuple[bytes, ...] = field(default=(), repr=False)  # what they encrypted can still be read
    allow_any_host: bool = False  # of a secret that names no hosts
    allow_http: bool = False  # else secrets leave by https only


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSettings:
    """How much history a guild's deployments have."""

    keep_revisions: int = 50  # successful ones, and as many failed ones; 0: all


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """How much of the audit log is kept. 0: no such limit."""

    keep_days: int = 365
    keep_rows: int = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySettings:
    """Where metrics and traces are pushed, as OpenTelemetry's protocol over HTTP has them (OTLP/HTTP, protobuf)."""

    endpoint: str = ""  # base URL; below it /v1/metrics and /v1/traces. Empty: nothing is pushed
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # may hold the receiver's key
    interval_s: float = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything. `data_dir` is absolute."""

    data_dir: Path
    log_level: str = "flora::runtime=info,flora=info"
    log_format: str = "auto"  # pretty | json | auto: pretty on a terminal
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    fetch: FetchSettings = field(default_factory=FetchSettings)
    kv: KvSettings = field(default_factory=KvSettings)
    logs: LogSettings = field(default_factory=LogSettings)
    trace: TraceSettings = field(default_factory=TraceSettings)
    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    api: ApiSettings = field(default_factory=ApiSettings)
    discord: DiscordSettings = field(default_factory=DiscordSettings)
    secrets: SecretsSettings = field(default_factory=SecretsSettings)
    deployments: DeploymentSettings = field(default_factory=DeploymentSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    cluster_secret: bytes = field(default=b"", repr=False)  # signs what actors send each other
    run_id: str = (
        "0" * 16
    )  # 16 hex digits, made by the launcher at each start; first half of the trace ids of guild events
