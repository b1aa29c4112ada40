from __future__ import annotations

import dataclasses
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flora.messages.errors import ConfigError
from flora.messages.placement import Placement
from flora.messages.settings import Settings
from flora.storage.config import DISCORD_API_BASE, KEYS, load_settings, load_settings_and_warnings
from flora.storage.secret_files import keep_secret

TOKEN = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GabcdE.abcdefghijklmnopqrstuvwxyz0123456789AB"
REAL = {
    "DISCORD_TOKEN": TOKEN,
    "DISCORD_CLIENT_ID": "123456789012345678",
    "DISCORD_CLIENT_SECRET": "s3cret",
    "SECRETS_MASTER_KEY": "ab" * 32,
    "API_SECRET": "x" * 32,
}


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Settings]:
    def load_with(toml: str = "", dotenv: str = "", **environ: str) -> Settings:
        if toml:
            (tmp_path / "config.toml").write_text(toml)
        if dotenv:
            (tmp_path / ".env").write_text(dotenv)
        return load_settings(environ, tmp_path)

    return load_with


def test_given_nothing_when_loaded_then_defaults_and_simulated_discord(
    load: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = load()

    assert settings.discord.simulated
    assert settings.data_dir == tmp_path / "data"
    assert settings.database.url is None
    assert settings.cache.url is None
    assert settings.api.port == 3000
    assert settings.discord.redirect_uri == ""
    assert not settings.api.cookie_secure
    assert settings.discord.intents == ("all",)
    assert len(settings.secrets.master_key) == 32
    assert len(settings.api.secret) >= 32
    assert len(settings.cluster_secret) >= 32
    assert settings.runtime.dispatch_timeout_s == 3


def test_given_env_toml_and_default_when_loaded_then_env_wins_over_toml_over_default(
    load: Callable[..., Settings],
) -> None:
    settings = load(
        toml="[runtime]\nmax_workers = 7\nguild_concurrency = 9\n[api]\nport = 4000\n",
        RUNTIME_MAX_WORKERS="8",
    )

    assert settings.runtime.max_workers == 8
    assert settings.runtime.guild_concurrency == 9
    assert settings.runtime.rest_timeout_ms == 8000
    assert settings.api.port == 4000


def test_given_a_dotenv_when_loaded_then_it_counts_as_environment_but_set_variables_win(
    load: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = load(
        toml="[runtime]\nmax_workers = 7\n",
        dotenv="# comment\nexport RUNTIME_MAX_WORKERS=3 # three\nAPI_PORT=1\n"
        f"BASE='{tmp_path}'\n"
        'FLORA_DATA_DIR="${BASE}/d"\n',
        API_PORT="2",
    )

    assert settings.runtime.max_workers == 3
    assert settings.api.port == 2
    assert settings.data_dir == tmp_path / "d"


@pytest.mark.scenario("T02")
@pytest.mark.parametrize("missing", sorted(set(REAL) - {"DISCORD_TOKEN"}))
def test_given_a_real_token_and_a_missing_required_key_when_loaded_then_it_is_named_and_nothing_is_made(
    load: Callable[..., Settings], tmp_path: Path, missing: str
) -> None:
    environ = {name: value for name, value in REAL.items() if name != missing}
    key = next(key for key in KEYS if key.env == missing)

    with pytest.raises(ConfigError) as caught:
        load(**environ)

    assert f"{key.name} ({missing})" in str(caught.value)
    assert caught.value.details["keys"] == [key.name]
    assert not (tmp_path / "data").exists()


@pytest.mark.scenario("T02")
def test_given_several_things_wrong_when_loaded_then_all_are_named_at_once(load: Callable[..., Settings]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(DISCORD_TOKEN=TOKEN, API_PORT="65536", RUST_LOG="flora=loud", SECRETS_MASTER_KEY="short")

    assert caught.value.details["keys"] == [
        "api.port",
        "api.secret",
        "discord.client_id",
        "discord.client_secret",
        "log_level",
        "secrets.master_key",
    ]
    assert "short" not in str(caught.value)


@pytest.mark.scenario("T07")
@pytest.mark.parametrize(("given", "used"), [("0", 1), ("1", 1), ("64", 64), ("500", 64)])
def test_given_max_workers_out_of_range_when_loaded_then_clamped_to_1_to_64(
    load: Callable[..., Settings], given: str, used: int
) -> None:
    assert load(RUNTIME_MAX_WORKERS=given).runtime.max_workers == used


@pytest.mark.parametrize(
    ("env", "value"),
    [
        ("RUNTIME_MAX_WORKERS", "-1"),
        ("RUNTIME_MAX_WORKERS", "four"),
        ("RUNTIME_BOOT_TIMEOUT_SECS", "-0.1"),
        ("RUNTIME_BOOT_TIMEOUT_SECS", "nan"),
        ("RUNTIME_PIN_WORKERS", "maybe"),
        ("API_ADDRESS", "localhost"),
        ("API_PORT", "-1"),
        ("API_SECRET", "x" * 31),
        ("SECRETS_MASTER_KEY", "z" * 64),
        ("SECRETS_MASTER_KEY", "ä" * 32),
        ("CLUSTER_SECRET", "x"),
        ("DISCORD_TOKEN", "not-a-token"),
        ("DISCORD_TOKEN", "bm9kaWdpdHM.x.y"),
        ("DISCORD_INTENTS", "guilds,telepathy"),
        ("DISCORD_API_BASE", "ftp://x"),
        ("DATABASE_URL", "mysql://x"),
        ("DATABASE_URL", "postgres://["),
        ("CACHE_URL", "memcached://x"),
        ("RUST_LOG", "flora=loud"),
        ("RUNTIME_PLACEMENT", "quarantined"),
    ],
)
def test_given_a_wrong_value_when_loaded_then_refused_by_name_without_the_value_of_a_secret(
    load: Callable[..., Settings], env: str, value: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(**{env: value})

    assert f"({env})" in str(caught.value)
    if "SECRET" in env or "TOKEN" in env:
        assert value not in str(caught.value).replace(env, "")


@pytest.mark.parametrize(
    ("env", "value", "read", "wanted"),
    [
        ("RUNTIME_PLACEMENT", "Dedicated", lambda s: s.runtime.placement, Placement.DEDICATED),
        ("RUNTIME_QUARANTINE_PROBATION_S", "0", lambda s: s.runtime.quarantine_probation_s, 0),
        ("RUNTIME_PIN_WORKERS", "no", lambda s: s.runtime.pin_workers, False),
        ("API_COOKIE_SECURE", "YES", lambda s: s.api.cookie_secure, True),
        ("RUNTIME_BOOT_TIMEOUT_SECS", "0", lambda s: s.runtime.boot_timeout_s, 0),
        ("RUNTIME_SHUTDOWN_TIMEOUT_SECS", "2.5", lambda s: s.runtime.shutdown_timeout_s, 2.5),
        ("RUNTIME_LOAD_TIMEOUT_SECS", "2.5", lambda s: s.runtime.load_timeout_s, 2.5),
        ("RUNTIME_WORKER_QUEUE_CAPACITY", "0", lambda s: s.runtime.worker_queue_capacity, 1),
        ("RUNTIME_GUILD_CONCURRENCY", "0", lambda s: s.runtime.guild_concurrency, 1),
        ("RUNTIME_MAX_CRON_JOBS", "0", lambda s: s.runtime.max_cron_jobs, 0),
        ("RUNTIME_CPU_SHARE_PERCENT", "0", lambda s: s.runtime.cpu_share_percent, 0),
        ("RUNTIME_CPU_BURST_MS", "100", lambda s: s.runtime.cpu_burst_ms, 100),
        ("RUNTIME_MAX_PENDING_OPS", "1", lambda s: s.runtime.max_pending_ops, 1),
        ("RUNTIME_OPS_PER_SECOND", "0", lambda s: s.runtime.ops_per_second, 0),
        ("RUNTIME_LOG_LINES_PER_SECOND", "0", lambda s: s.runtime.log_lines_per_second, 0),
        ("RUNTIME_MAX_TIMERS", "1", lambda s: s.runtime.max_timers, 1),
        ("RUST_LOG", "warn, flora::runtime=debug,other", lambda s: s.log_level, "warn,flora::runtime=debug,other"),
        ("SECRETS_MASTER_KEY", "k" * 32, lambda s: s.secrets.master_key, b"k" * 32),
        ("SECRETS_MASTER_KEY", "0f" * 32, lambda s: s.secrets.master_key, b"\x0f" * 32),
        ("API_OPERATOR_SECRET", "", lambda s: len(s.api.operator_secret), 64),
        ("API_OPERATOR_SECRET", "mine", lambda s: s.api.operator_secret, "mine"),
        ("DISCORD_INTENTS", "Guilds, guild_messages", lambda s: s.discord.intents, ("guilds", "guild_messages")),
        ("CACHE_URL", "unix:///run/v.sock?db=1", lambda s: s.cache.url, "unix:///run/v.sock?db=1"),
        ("FETCH_TIMEOUT_MS", "0", lambda s: s.fetch.timeout_ms, 0),
        ("KV_BACKEND", " Postgres", lambda s: s.kv.backend, "postgres"),
        ("KV_DURABILITY", "ALWAYS", lambda s: s.kv.durability, "always"),
        ("KV_WRITES_PER_MINUTE", "120", lambda s: s.kv.writes_per_minute, 120),
        ("FETCH_CONCURRENCY", "0", lambda s: s.fetch.concurrency, 1),
        ("LOG_FORMAT", "json", lambda s: s.log_format, "json"),
        ("LOGS_MAX_GUILD_KB", "64", lambda s: s.logs.max_guild_kb, 64),
        ("FETCH_ALLOW", " 10.0.0.0/8,Wiki.internal:80,", lambda s: s.fetch.allow, ("10.0.0.0/8", "wiki.internal:80")),
        ("DEPLOYMENTS_KEEP_REVISIONS", "0", lambda s: s.deployments.keep_revisions, 0),
        ("AUDIT_KEEP_DAYS", "0", lambda s: s.audit.keep_days, 0),
        ("AUDIT_KEEP_ROWS", "5", lambda s: s.audit.keep_rows, 5),
        ("API_ADDRESS", "::1", lambda s: s.api.address, "::1"),
    ],
)
def test_given_a_valid_value_when_loaded_then_read_as_meant(
    load: Callable[..., Settings], env: str, value: str, read: Callable[[Settings], object], wanted: object
) -> None:
    assert read(load(**{env: value})) == wanted


def test_given_a_real_token_when_loaded_then_discord_itself_is_used(load: Callable[..., Settings]) -> None:
    settings = load(**REAL)

    assert not settings.discord.simulated
    assert settings.discord.api_base == DISCORD_API_BASE
    assert settings.discord.authorize_url == "https://discord.com/api/oauth2/authorize"
    assert settings.discord.bot_token == TOKEN
    assert settings.discord.redirect_uri == "http://localhost:3000/api/auth/callback"
    assert load(**REAL, API_PORT="4000").discord.redirect_uri == "http://localhost:4000/api/auth/callback"
    assert load(**REAL, DISCORD_API_BASE="http://127.0.0.1:1/api/v10/").discord.api_base == "http://127.0.0.1:1/api/v10"


def test_given_people_come_over_https_when_loaded_then_cookies_are_secure_unless_somebody_insists(
    tmp_path: Path,
) -> None:
    public = {"DISCORD_REDIRECT_URI": "https://flora.example/api/auth/callback"}

    by_itself, silent = load_settings_and_warnings({**REAL, **public}, tmp_path)
    insisted, warned = load_settings_and_warnings({**REAL, **public, "API_COOKIE_SECURE": "false"}, tmp_path)

    assert (by_itself.api.cookie_secure, silent) == (True, [])
    assert not insisted.api.cookie_secure
    assert "api.cookie_secure (API_COOKIE_SECURE) is false although" in warned[0]


def test_given_settings_when_shown_then_no_secret_is_in_the_text(load: Callable[..., Settings]) -> None:
    shown = repr(load(**REAL, DATABASE_URL="postgres://u:hidden@h/d", API_OPERATOR_SECRET="op-secret"))

    for hidden in (TOKEN, "s3cret", "hidden", "op-secret", "x" * 32, repr(bytes.fromhex("ab" * 32))):
        assert hidden not in shown


def test_given_unknown_and_useless_keys_when_loaded_then_they_are_only_warned_about(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        'colour = "red"\n[runtime]\nmax_wrkers = 3\n[build_service]\nsecret = "x"\n'
        '[discord]\nredirect_uri = "http://localhost:3000/auth/callback"\n'
    )

    settings, warnings = load_settings_and_warnings({}, tmp_path)

    assert settings.runtime.max_workers == 4
    told = "\n".join(warnings)
    assert "colour" in told
    assert "runtime.max_wrkers" in told
    assert "build_service.secret" in told
    assert "/api/auth/callback" in told
    assert len(warnings) == 4


def test_given_broken_toml_when_loaded_then_the_file_is_named(load: Callable[..., Settings], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.toml"):
        load(toml="[runtime\n")


def test_given_two_loads_when_secrets_were_made_then_they_stay_the_same_and_private(
    load: Callable[..., Settings], tmp_path: Path
) -> None:
    first, second = load(), load()

    folder = tmp_path / "data" / "secrets"
    assert first == second
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert sorted(file.name for file in folder.iterdir()) == [
        *("api_operator_secret", "api_secret", "cluster_secret", "secrets_master_key")
    ]


def test_given_many_starts_at_once_when_a_secret_is_made_then_all_get_the_same_one(tmp_path: Path) -> None:
    copies = 16
    together = threading.Barrier(copies)

    def start(_: int) -> str:
        together.wait()
        return keep_secret(tmp_path / "secrets", "api_secret")

    with ThreadPoolExecutor(copies) as pool:
        made = set(pool.map(start, range(copies)))

    assert len(made) == 1
    assert [file.name for file in (tmp_path / "secrets").iterdir()] == ["api_secret"]


def test_given_a_damaged_secret_when_loaded_then_it_is_not_replaced(tmp_path: Path) -> None:
    keep_secret(tmp_path, "api_secret")
    (tmp_path / "api_secret").write_text("")

    with pytest.raises(ConfigError, match="restore it"):
        keep_secret(tmp_path, "api_secret")


def test_given_previous_keys_when_loaded_then_they_are_read_like_the_master_key_and_never_shown(
    load: Callable[..., Settings],
) -> None:
    raw = "0123456789abcdef0123456789ABCDE,"
    several = load(SECRETS_PREVIOUS_KEYS=f"{'ab' * 32}, {'cd' * 32},{'ab' * 32}").secrets
    listed = load(toml=f'[secrets]\nprevious_keys = ["{raw}"]\nallow_http = true\n').secrets

    assert several.previous_keys == (b"\xab" * 32, b"\xcd" * 32)
    assert (several.allow_any_host, several.allow_http) == (False, False)
    assert (listed.previous_keys, listed.allow_http) == ((raw.encode(),), True)
    assert repr(several) == "SecretsSettings(allow_any_host=False, allow_http=False)"
    with pytest.raises(ConfigError, match="SECRETS_PREVIOUS_KEYS") as caught:
        load(SECRETS_PREVIOUS_KEYS="hunter2")
    assert "hunter2" not in str(caught.value)


def test_given_a_receiver_of_telemetry_when_loaded_then_its_headers_are_read_from_both_forms_and_never_shown(
    load: Callable[..., Settings],
) -> None:
    unset = load().telemetry
    written = load(
        toml='[telemetry]\nendpoint = "http://127.0.0.1:4318/"\ninterval_s = 2.5\nheaders = { x-key = "s3cret, 1" }\n'
    ).telemetry
    given = load(FLORA_OTLP_ENDPOINT="https://o.example/otlp", FLORA_OTLP_HEADERS="authorization=Bearer%20k,x-scope=7")

    assert (unset.endpoint, unset.headers, unset.interval_s) == ("", (), 15)
    assert (written.endpoint, written.headers, written.interval_s) == (
        *("http://127.0.0.1:4318", (("x-key", "s3cret, 1"),), 2.5),
    )
    assert given.telemetry.endpoint == "https://o.example/otlp"
    assert given.telemetry.headers == (("authorization", "Bearer k"), ("x-scope", "7"))
    assert "s3cret" not in repr(written)


@pytest.mark.parametrize("headers", ["novalue", "a b=1", "x=a%0d%0aInjected: 1"])
def test_given_headers_that_cannot_be_sent_when_loaded_then_they_are_refused(
    load: Callable[..., Settings], headers: str
) -> None:
    with pytest.raises(ConfigError, match="FLORA_OTLP_HEADERS"):
        load(FLORA_OTLP_HEADERS=headers)


def test_given_the_table_of_keys_when_compared_with_the_settings_then_every_field_can_be_set(
    load: Callable[..., Settings],
) -> None:
    fields = {
        f"{section}.{name}" if section else name
        for section, part in _parts(load()).items()
        for name in (field.name for field in dataclasses.fields(part))
    }
    sections = set(_parts(load()))
    settable = {f"{key.section}.{key.attr}" if key.section in sections - {""} else key.attr for key in KEYS if key.attr}

    assert fields - sections - {"discord.simulated", "run_id"} == settable
    assert len({key.env for key in KEYS}) == len({key.name for key in KEYS}) == len(KEYS)


def _parts(settings: Settings) -> dict[str, Any]:
    sections = (
        "runtime",
        "fetch",
        "logs",
        "trace",
        "kv",
        "database",
        "cache",
        "api",
        "discord",
        "secrets",
        "deployments",
        "audit",
        "telemetry",
    )
    nested = {name: getattr(settings, name) for name in sections}
    return {"": settings, **nested}
