"""Loads the settings: environment, then `config.toml` in the working directory, then the default.

`.env` is read into the environment first; variables that are set already win. An empty variable counts as unset.
Unknown keys are only warned about. Without a Discord token the simulated Discord is used, and the secrets that nobody
has set are made once, under `<data_dir>/secrets`.
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from flora.messages.errors import ConfigError
from flora.messages.settings import (
    MAX_WORKERS,
    ApiSettings,
    AuditSettings,
    CacheSettings,
    DatabaseSettings,
    DeploymentSettings,
    DiscordSettings,
    FetchSettings,
    KvSettings,
    LogSettings,
    RuntimeSettings,
    SecretsSettings,
    Settings,
    TelemetrySettings,
    TraceSettings,
)
from flora.storage import config_values as values
from flora.storage.dotenv import parse_dotenv
from flora.storage.secret_files import keep_secret

log = logging.getLogger(__name__)

DISCORD_API_BASE = "https://discord.com/api/v10"
DISCORD_AUTHORIZE_URL = "https://discord.com/api/oauth2/authorize"
DATA_DIR = "data"
CALLBACK_PATH = "/api/auth/callback"


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: where it is written, how it is read, and which field of its settings class it fills."""

    name: str  # in config.toml, "section.key"
    env: str
    parse: values.Parse
    attr: str = ""  # field of the settings class; empty: not passed on
    required: bool = False  # with a real Discord; the simulated one makes do

    @property
    def section(self) -> str:
        return self.name.rpartition(".")[0]

    def __str__(self) -> str:
        return f"{self.name} ({self.env})"


def _runtime(key: str, parse: values.Parse, attr: str = "") -> Key:
    return Key(f"runtime.{key}", f"RUNTIME_{key.upper()}", parse, attr or key)


def _fetch(key: str, parse: values.Parse) -> Key:
    return Key(f"fetch.{key}", f"FETCH_{key.upper()}", parse, key)


def _kv(key: str, parse: values.Parse) -> Key:
    return Key(f"kv.{key}", f"KV_{key.upper()}", parse, key)


def _trace(key: str, parse: values.Parse) -> Key:
    return Key(f"trace.{key}", f"TRACE_{key.upper()}", parse, key)


KEYS: tuple[Key, ...] = (
    Key("log_level", "RUST_LOG", values.log_filter, "log_level"),
    Key("log_format", "LOG_FORMAT", values.one_of("auto", "pretty", "json"), "log_format"),
    Key("logs.max_guild_kb", "LOGS_MAX_GUILD_KB", values.whole(least=16), "max_guild_kb"),
    Key("logs.max_total_mb", "LOGS_MAX_TOTAL_MB", values.whole(least=1), "max_total_mb"),
    _trace("enabled", values.boolean),
    _trace("events_per_second", values.whole()),
    _trace("slow_ms", values.whole(least=1)),
    _trace("max_mb", values.whole(least=1)),
    Key("data_dir", "FLORA_DATA_DIR", values.path, "data_dir"),
    Key("secrets.master_key", "SECRETS_MASTER_KEY", values.master_key, "master_key", required=True),
    Key("secrets.previous_keys", "SECRETS_PREVIOUS_KEYS", values.master_keys, "previous_keys"),
    Key("secrets.allow_any_host", "SECRETS_ALLOW_ANY_HOST", values.boolean, "allow_any_host"),
    Key("secrets.allow_http", "SECRETS_ALLOW_HTTP", values.boolean, "allow_http"),
    Key("cluster.secret", "CLUSTER_SECRET", values.secret_bytes, "cluster_secret"),
    Key("discord.bot_token", "DISCORD_TOKEN", values.bot_token, "bot_token"),
    Key("discord.client_id", "DISCORD_CLIENT_ID", values.snowflake, "client_id", required=True),
    Key("discord.client_secret", "DISCORD_CLIENT_SECRET", values.text, "client_secret", required=True),
    Key("discord.redirect_uri", "DISCORD_REDIRECT_URI", values.url("http", "https"), "redirect_uri"),
    Key("discord.authorize_url", "DISCORD_AUTHORIZE_URL", values.base_url, "authorize_url"),
    Key("discord.api_base", "DISCORD_API_BASE", values.base_url, "api_base"),
    Key("discord.intents", "DISCORD_INTENTS", values.intents, "intents"),
    Key("database.url", "DATABASE_URL", values.url("postgres", "postgresql"), "url"),
    Key("database.max_connections", "DATABASE_MAX_CONNECTIONS", values.whole(least=1), "max_connections"),
    Key("cache.url", "CACHE_URL", values.url("redis", "rediss", "unix"), "url"),
    Key("cache.pool_size", "CACHE_POOL_SIZE", values.whole(least=1), "pool_size"),
    _runtime("max_workers", values.whole(clamp_to=(1, MAX_WORKERS))),
    _runtime("worker_queue_capacity", values.whole(clamp_to=(1, None))),
    _runtime("boot_timeout_secs", values.seconds, "boot_timeout_s"),
    _runtime("shutdown_timeout_secs", values.seconds, "shutdown_timeout_s"),
    _runtime("load_timeout_secs", values.seconds, "load_timeout_s"),
    _runtime("dispatch_timeout_secs", values.seconds, "dispatch_timeout_s"),
    _runtime("cron_timeout_secs", values.seconds, "cron_timeout_s"),
    _runtime("migration_timeout_ms", values.whole()),
    _runtime("rest_timeout_ms", values.whole()),
    _runtime("guild_concurrency", values.whole(clamp_to=(1, None))),
    _runtime("guild_overlap", values.whole(clamp_to=(1, None))),
    _runtime("max_script_bytes", values.whole()),
    _runtime("max_bundle_files", values.whole()),
    _runtime("max_bundle_total_bytes", values.whole()),
    _runtime("max_cron_jobs", values.whole()),
    _runtime("cpu_share_percent", values.whole()),
    _runtime("cpu_burst_ms", values.whole(least=100)),  # with less, a script would be held back while it loads
    _runtime("max_pending_ops", values.whole(least=1)),
    _runtime("ops_per_second", values.whole()),
    _runtime("log_lines_per_second", values.whole()),
    _runtime("max_timers", values.whole(least=1)),
    _runtime("max_heap_mb", values.whole(least=16)),  # V8 and the SDK alone need some megabytes
    _runtime("max_buffer_mb", values.whole(least=1)),
    _runtime("max_worker_memory_mb", values.whole()),
    _runtime("placement", values.placement),
    _runtime("quarantine_probation_s", values.seconds),
    _runtime("rebalance", values.boolean),
    _runtime("rebalance_interval_s", values.seconds_of_at_least(0.1)),
    _runtime("rebalance_after_s", values.seconds),
    _runtime("rebalance_over_percent", values.whole(least=1)),
    _runtime("rebalance_cool_down_s", values.seconds),
    _runtime("rebalance_max_moves", values.whole(least=1)),
    _runtime("hot_guild_percent", values.whole()),
    _runtime("dedicate_hot_guilds", values.boolean),
    _runtime("worker_max_age_s", values.seconds),
    _runtime("worker_recycle_mb", values.whole()),
    _runtime("pin_workers", values.boolean),
    _runtime("show_internal_stack_frames", values.boolean),
    _fetch("enabled", values.boolean),
    _fetch("timeout_ms", values.whole()),
    _fetch("max_response_bytes", values.whole(least=1)),
    _fetch("max_request_bytes", values.whole()),
    _fetch("max_redirects", values.whole()),
    _fetch("concurrency", values.whole(clamp_to=(1, None))),
    _fetch("allow", values.destinations),
    _kv("backend", values.kv_backend),
    _kv("durability", values.one_of("interval", "always")),
    _kv("sync_interval_ms", values.whole(least=10)),
    _kv("writes_per_minute", values.whole()),
    _kv("max_store_bytes", values.whole(least=1)),
    _kv("max_guild_bytes", values.whole(least=1)),
    _kv("max_store_keys", values.whole(least=1)),
    _kv("max_stores", values.whole(least=1)),
    Key("api.address", "API_ADDRESS", values.ip_address, "address"),
    Key("api.port", "API_PORT", values.whole(most=65535), "port"),
    Key("api.secret", "API_SECRET", values.secret, "secret", required=True),
    Key("api.cookie_ttl_secs", "API_COOKIE_TTL_SECS", values.whole(least=1), "cookie_ttl_secs"),
    Key("api.cookie_secure", "API_COOKIE_SECURE", values.boolean, "cookie_secure"),
    Key("api.operator_secret", "API_OPERATOR_SECRET", values.text, "operator_secret"),
    Key("deployments.keep_revisions", "DEPLOYMENTS_KEEP_REVISIONS", values.whole(), "keep_revisions"),
    Key("audit.keep_days", "AUDIT_KEEP_DAYS", values.whole(most=36_500), "keep_days"),
    Key("audit.keep_rows", "AUDIT_KEEP_ROWS", values.whole(), "keep_rows"),
    Key("telemetry.endpoint", "FLORA_OTLP_ENDPOINT", values.base_url, "endpoint"),
    Key("telemetry.headers", "FLORA_OTLP_HEADERS", values.http_headers, "headers"),
    Key("telemetry.interval_s", "FLORA_OTLP_INTERVAL_S", values.seconds_of_at_least(1), "interval_s"),
    # Scripts are bundled inside flora. An old configuration still loads; these have no effect.
    Key("build_service.url", "BUILD_SERVICE_URL", values.text),
    Key("build_service.secret", "BUILD_SERVICE_SECRET", values.text),
)
_BY_NAME = {key.name: key for key in KEYS}


@dataclass(slots=True)
class _Loading:
    """What has been read so far: values by key name, problems that end the boot, and warnings that do not."""

    found: dict[str, object] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)  # key name → sentence
    warnings: list[str] = field(default_factory=list)

    def section(self, section: str) -> dict[str, object]:
        return {
            key.attr: self.found[key.name]
            for key in KEYS
            if key.section == section and key.attr and key.name in self.found
        }


def load_settings(environ: Mapping[str, str], cwd: Path) -> Settings:
    """Settings of this installation; warnings go to the log.

    Raises:
        ConfigError: something required is missing, or a value is wrong. Names every such key with its environment
            variable; `details["keys"]` lists them.
    """
    settings, warnings = load_settings_and_warnings(environ, cwd)
    for warning in warnings:
        log.warning("%s", warning, extra={"action": "config_warning"})
    return settings


def load_settings_and_warnings(environ: Mapping[str, str], cwd: Path) -> tuple[Settings, list[str]]:
    """As `load_settings`, with the warnings for the caller to show. Touches no file unless everything is in order."""
    loading = _Loading()
    environ = _with_dotenv(environ, cwd, loading)
    written = dict(_flatten(_read_toml(cwd / "config.toml")))
    loading.warnings += [f"config.toml: the key {name} is not known and has no effect" for name in _unknown(written)]
    for key in KEYS:
        _read_key(key, environ, written, loading)
    simulated = "discord.bot_token" not in loading.found
    if not simulated:
        _demand_required(loading)
    _raise_problems(loading)
    _warn_of_oddities(loading)
    return _build(loading, cwd, simulated=simulated), loading.warnings


def data_dir_of(environ: Mapping[str, str], cwd: Path) -> Path:
    """The data folder alone, whatever else is missing or wrong: for looking at what flora has left behind.

    Raises:
        ConfigError: `config.toml` cannot be read, or names no path.
    """
    loading = _Loading()
    written = dict(_flatten(_read_toml(cwd / "config.toml")))
    _read_key(_BY_NAME["data_dir"], _with_dotenv(environ, cwd, loading), written, loading)
    _raise_problems(loading)
    return (cwd / str(loading.found.get("data_dir", DATA_DIR))).resolve()


def _with_dotenv(environ: Mapping[str, str], cwd: Path, loading: _Loading) -> dict[str, str]:
    try:
        content = (cwd / ".env").read_text(encoding="utf-8")
    except FileNotFoundError:
        return dict(environ)
    except (OSError, UnicodeDecodeError) as exc:
        loading.warnings.append(f".env was not read: {exc}")
        return dict(environ)
    found, problems = parse_dotenv(content, environ)
    loading.warnings += problems
    return {**found, **environ}


def _read_toml(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{file} cannot be read: {exc}", path=str(file)) from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{file} is not valid TOML: {exc}", path=str(file)) from exc


def _flatten(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, dict) and prefix + name not in _BY_NAME:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _unknown(written: Mapping[str, object]) -> list[str]:
    return [name for name in written if name not in _BY_NAME]


def _read_key(key: Key, environ: Mapping[str, str], written: Mapping[str, object], loading: _Loading) -> None:
    raw: object = environ.get(key.env) or written.get(key.name)
    if raw is None or (isinstance(raw, str) and not raw.strip()):
        return
    try:
        loading.found[key.name] = key.parse(raw)
    except ValueError as exc:
        loading.problems[key.name] = f"{key} {exc}"


def _demand_required(loading: _Loading) -> None:
    for key in KEYS:
        if key.required and key.name not in loading.found:
            loading.problems.setdefault(key.name, f"{key} is required when a Discord token is set, and is not set")


def _raise_problems(loading: _Loading) -> None:
    if loading.problems:
        listed = "; ".join(loading.problems.values())
        raise ConfigError(f"the configuration cannot be used: {listed}", keys=sorted(loading.problems))


def _warn_of_oddities(loading: _Loading) -> None:
    redirect = loading.found.get("discord.redirect_uri")
    if redirect is not None and urlsplit(str(redirect)).path != CALLBACK_PATH:
        loading.warnings.append(f"{_BY_NAME['discord.redirect_uri']} does not end in {CALLBACK_PATH}: log-in will fail")
    if str(redirect).startswith("https://") and loading.found.get("api.cookie_secure") is False:
        text = "is false although people reach flora over https: session cookies may travel in clear; leave it out"
        loading.warnings.append(f"{_BY_NAME['api.cookie_secure']} {text}")
    given = [str(key) for key in KEYS if key.section == "build_service" and key.name in loading.found]
    if given:
        loading.warnings.append(f"{', '.join(given)}: has no effect; scripts are bundled inside flora")


def _build(loading: _Loading, cwd: Path, *, simulated: bool) -> Settings:
    data_dir = (cwd / str(loading.found.get("data_dir", DATA_DIR))).resolve()
    _fill_secrets(loading, data_dir / "secrets", simulated=simulated)
    if not simulated:  # the simulated one sends people back to whichever address of ours they came from
        port = loading.found.get("api.port") or ApiSettings().port
        loading.found.setdefault("discord.redirect_uri", f"http://localhost:{port}{CALLBACK_PATH}")
        loading.found.setdefault("discord.api_base", DISCORD_API_BASE)
        loading.found.setdefault("discord.authorize_url", DISCORD_AUTHORIZE_URL)
    over_https = str(loading.found.get("discord.redirect_uri", "")).startswith("https://")
    loading.found.setdefault("api.cookie_secure", over_https)
    top = {**loading.section(""), "data_dir": data_dir, **loading.section("cluster")}
    return Settings(
        **top,  # type: ignore[arg-type]  # the table above pairs each field with a parser of its type; a test checks it
        runtime=RuntimeSettings(**loading.section("runtime")),  # type: ignore[arg-type]
        fetch=FetchSettings(**loading.section("fetch")),  # type: ignore[arg-type]
        kv=KvSettings(**loading.section("kv")),  # type: ignore[arg-type]
        logs=LogSettings(**loading.section("logs")),  # type: ignore[arg-type]
        trace=TraceSettings(**loading.section("trace")),  # type: ignore[arg-type]
        database=DatabaseSettings(**loading.section("database")),  # type: ignore[arg-type]
        cache=CacheSettings(**loading.section("cache")),  # type: ignore[arg-type]
        api=ApiSettings(**loading.section("api")),  # type: ignore[arg-type]
        discord=DiscordSettings(simulated=simulated, **loading.section("discord")),  # type: ignore[arg-type]
        secrets=SecretsSettings(**loading.section("secrets")),  # type: ignore[arg-type]
        deployments=DeploymentSettings(**loading.section("deployments")),  # type: ignore[arg-type]
        audit=AuditSettings(**loading.section("audit")),  # type: ignore[arg-type]
        telemetry=TelemetrySettings(**loading.section("telemetry")),  # type: ignore[arg-type]
    )


def _fill_secrets(loading: _Loading, folder: Path, *, simulated: bool) -> None:
    # The cluster secret never leaves the machines that run flora, so it may be made here also for a real Discord;
    # several machines must be given the same one. The operator's is for who may read the data folder.
    names = ["cluster.secret", "api.operator_secret", *(["secrets.master_key", "api.secret"] if simulated else [])]
    for name in names:
        if name not in loading.found:
            loading.found[name] = _BY_NAME[name].parse(keep_secret(folder, name.replace(".", "_")))
