"""Secrets in one fetch: placeholders become values where the request leaves, and only there.

In     the URL behind its host, and header values, as the script wrote them. Never bodies, never the host itself.
Where  a host that the secret names, by https; see `SecretsSettings` for what an operator may allow besides. Asked anew for every
       hop: where a redirect leads elsewhere, headers with secrets that may not go there stay behind, as `Authorization` does in a
       browser; a URL with such a secret ends the fetch. What a server writes into `Location` is never filled.
Out    values that a server sends back become placeholders again, in everything that the script is given.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import quote, quote_plus

from flora.actors.fetch.guard import Target
from flora.actors.fetch.request import FetchCode, FetchError, Headers
from flora.actors.guild_secrets.book import SecretBook
from flora.actors.guild_secrets.hosts import readable_patterns
from flora.messages.secrets import PLACEHOLDER_PREFIX, LiveSecret
from flora.messages.settings import SecretsSettings

MAX_FILLED_CHARS = 131_072  # of URL and headers together; servers take much less
LEAST_SCRUBBED_CHARS = 8  # what is shorter would be found in what is not it
HOSTS_SHOWN = 5

_PLACEHOLDER = re.compile(re.escape(PLACEHOLDER_PREFIX) + r"[0-9a-fA-F-]{36}:[0-9a-fA-F]{12}")
_AUTHORITY = re.compile(r"[^:/?#]+:[/\\]*[^/?#\\]*")
_URL_SAFE = "!$&'()*+,;=:@/?[]%"  # what may stand in a URL stands there as it is, as text replaced by text would
_NOT_IN_HEADERS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

StartFilling = Callable[[str], "FetchSecrets"]
"""(guild id) → for one fetch of that guild."""


class FetchSecrets:
    """The secrets of a guild as they were when its fetch began, and which of them it has used."""

    def __init__(
        self, known: Mapping[str, LiveSecret], settings: SecretsSettings, refused: Counter[str] | None = None
    ) -> None:
        """Makes one that has used none. `refused`: counts by reason what was not filled in."""
        self._known = known
        self._settings = settings
        self._refused = Counter() if refused is None else refused
        self._in_url: list[LiveSecret] = []
        self._used: dict[str, LiveSecret] = {}  # by name
        self._filled_chars = 0

    # On the way out

    def fill_url(self, url: str, *, is_ours: bool = True) -> str:
        """The URL as it leaves. Its secrets are to be permitted before it does.

        `is_ours`: False where a server may have written the placeholders in it; they stay what they are.

        Raises:
            FetchError: a secret stands for the host, or a placeholder for nothing.
        """
        self._in_url, self._filled_chars = [], 0
        if not is_ours or PLACEHOLDER_PREFIX not in url:
            return url
        found = _AUTHORITY.match(url)
        end = found.end() if found else 0
        if PLACEHOLDER_PREFIX in url[:end]:
            raise FetchError(FetchCode.FAILED, "a secret can stand in the path or query of a URL, not for its host")

        def value_of(secret: LiveSecret) -> str:
            self._in_url.append(secret)
            return quote(secret.value, safe=_URL_SAFE)

        return url[:end] + self._replace(url[end:], value_of)

    def permit_url(self, target: Target) -> None:
        """Checks the secrets that `fill_url` has just filled in against where it leads.

        Raises:
            FetchError: BLOCKED, with the secret's name.
        """
        for secret in self._in_url:
            self._check(secret, target)

    def permitted(self, headers: Headers, target: Target, *, redirected: bool) -> Headers:
        """The headers, unfilled, that may go there: all of them, or after a redirect those without a secret that may not.

        Raises:
            FetchError: BLOCKED, with the secret's name.
        """
        kept = []
        for header in headers:
            try:
                for secret in self._secrets_in(header[1]):
                    self._check(secret, target)
            except FetchError:
                if not redirected:
                    raise
            else:
                kept.append(header)
        return tuple(kept) if len(kept) < len(headers) else headers

    def fill_headers(self, headers: Headers) -> Headers:
        """Headers as they leave.

        Raises:
            FetchError: a value cannot be in a header, or all are too long.
        """
        if not any(PLACEHOLDER_PREFIX in content for _, content in headers):
            return headers
        return tuple((name, self._replace(content, _header_value)) for name, content in headers)

    def _secrets_in(self, text: str) -> Iterator[LiveSecret]:
        if PLACEHOLDER_PREFIX in text:
            yield from map(self._secret_of, _PLACEHOLDER.findall(text))

    def _secret_of(self, placeholder: str) -> LiveSecret:
        secret = self._known.get(placeholder)
        if secret is None:
            self._refused["unknown"] += 1
            raise FetchError(
                FetchCode.BLOCKED,
                f"{placeholder} stands for no secret of this guild; was it deleted? Ask secrets.get again",
            )
        return secret

    def _replace(self, text: str, value_of: Callable[[LiveSecret], str]) -> str:
        def value(found: re.Match[str]) -> str:
            secret = self._secret_of(found[0])
            self._used[secret.name] = secret
            filled = value_of(secret)
            self._filled_chars += len(filled)
            if self._filled_chars > MAX_FILLED_CHARS:
                raise FetchError(FetchCode.TOO_LARGE, f"with secret {secret.name} the request is too long")
            return filled

        return _PLACEHOLDER.sub(value, text)

    def _check(self, secret: LiveSecret, target: Target) -> None:
        host = target.host if target.address is None else str(target.address)
        patterns = readable_patterns(secret.allowed_hosts)
        if not secret.allowed_hosts:
            if not self._settings.allow_any_host:
                self._refused["no_hosts"] += 1
                raise _refused(secret, "it names no allowed hosts, and secrets.allow_any_host is off")
        elif not any(pattern.matches(host) for pattern in patterns):
            self._refused["host"] += 1
            shown = ", ".join(map(str, patterns[:HOSTS_SHOWN])) + (", …" if len(patterns) > HOSTS_SHOWN else "")
            raise _refused(secret, f"{target.host} is not one of its allowed hosts ({shown or 'none can be read'})")
        if target.url.scheme != "https" and not self._settings.allow_http:
            self._refused["scheme"] += 1
            raise _refused(secret, f"secrets leave by https only, and this goes to {target.host} by http")

    # On the way back

    def scrub_text(self, text: str) -> str:
        """A text of a server's, or about a request, without values that this fetch has used."""
        for spelling, placeholder in self._spellings():
            text = text.replace(spelling, placeholder)
        return text

    def scrub_bytes(self, content: bytes) -> bytes:
        """The same for a body."""
        for spelling, placeholder in self._spellings():
            raw = spelling.encode()
            if raw in content:
                content = content.replace(raw, placeholder.encode())
        return content

    def _spellings(self) -> Iterator[tuple[str, str]]:
        """How servers may write the values, longest first; and what is to stand there instead."""
        found: dict[str, str] = {}
        for secret in self._used.values():
            value = secret.value
            if len(value) >= LEAST_SCRUBBED_CHARS:
                in_json = (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
                in_urls = (quote(value, safe=_URL_SAFE), quote(value), quote(value, safe=""), quote_plus(value))
                for spelling in (value, *in_json, *(text.replace("/", "\\/") for text in in_json), *in_urls):
                    found[spelling] = secret.placeholders[0]
        yield from sorted(found.items(), key=lambda pair: -len(pair[0]))


def filling_of(book: SecretBook, settings: SecretsSettings, refused: Counter[str] | None = None) -> StartFilling:
    """For all fetches of a worker."""
    return lambda guild_id: FetchSecrets(book.by_placeholder(guild_id), settings, refused)


def no_secrets(_guild_id: str) -> FetchSecrets:
    """Where nobody has any."""
    return FetchSecrets({}, SecretsSettings())


def _header_value(secret: LiveSecret) -> str:
    if _NOT_IN_HEADERS.search(secret.value):
        raise FetchError(
            FetchCode.FAILED,
            f"the secret {secret.name} has line breaks or control characters, which no header can carry",
        )
    return secret.value


def _refused(secret: LiveSecret, why: str) -> FetchError:
    return FetchError(FetchCode.BLOCKED, f"secret not allowed for request host: {secret.name}: {why}")
