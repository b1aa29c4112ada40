"""Which API to talk to, as whom, and how."""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from flora.messages.version import VERSION
from flora.scripts.cli import this_folder, user_config
from flora.scripts.cli.arguments import Args
from flora.scripts.cli.errors import ApiError, CliError, Unreachable, UsageError

DEFAULT_API_URL = "http://127.0.0.1:3000/api"
ANSWER_LIMIT_S = 30.0
SAVED_AT_ONCE_BYTES = 256 * 1024
STREAM_SILENCE_LIMIT_S = 45.0  # three missed keep-alives

_NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, OSError)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to wherever it points."""

    def redirect_request(self, *_: Any) -> None:
        return None


class ApiClient:
    """Calls of the API. Every method raises `ApiError` when the server refuses and `Unreachable` when none answers."""

    def __init__(self, api_url: str, token: str | None) -> None:
        self.api_url = api_url
        self._token = token
        host = urllib.parse.urlsplit(api_url).hostname or ""
        # A proxy for the outside world does not know what runs on this machine.
        proxies = urllib.request.ProxyHandler({}) if is_loopback(host) else urllib.request.ProxyHandler()
        self._opener = urllib.request.build_opener(proxies, _NoRedirects())

    def get_text(self, path: str) -> str:
        with self._open("GET", path, ANSWER_LIMIT_S) as response:
            return _text(response)

    def get_json(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        return self.get_json_and_headers(path, query)[0]

    def get_json_and_headers(
        self, path: str, query: Mapping[str, str] | None = None
    ) -> tuple[Any, http.client.HTTPMessage]:
        with self._open("GET", path + _query(query), ANSWER_LIMIT_S) as response:
            return self._json(response), response.headers

    def post_json(
        self, path: str, body: Any, headers: Mapping[str, str] | None = None, limit_s: float = ANSWER_LIMIT_S
    ) -> Any:
        data = json.dumps(body, ensure_ascii=False).encode(errors="surrogatepass")
        headers = {"Content-Type": "application/json", **(headers or {})}
        with self._open("POST", path, limit_s, headers, data) as response:
            return self._json(response)

    def put_json(self, path: str, body: Any, limit_s: float = ANSWER_LIMIT_S) -> Any:
        headers = {"Content-Type": "application/json"}
        with self._open("PUT", path, limit_s, headers, json.dumps(body).encode()) as response:
            return self._json(response)

    def delete_json(self, path: str, headers: Mapping[str, str] | None = None, limit_s: float = ANSWER_LIMIT_S) -> Any:
        with self._open("DELETE", path, limit_s, headers) as response:
            return self._json(response)

    def delete(self, path: str) -> None:
        with self._open("DELETE", path, ANSWER_LIMIT_S) as response:
            _text(response)

    def save(self, path: str, target: BinaryIO) -> int:
        """Writes an answer's body somewhere, block by block; how many bytes it had.

        Raises:
            Unreachable: it ended early.
        """
        with self._open("GET", path, ANSWER_LIMIT_S) as response:
            written = 0
            try:
                while block := response.read(SAVED_AT_ONCE_BYTES):
                    written += target.write(block)
            except _NETWORK_ERRORS as exc:
                raise Unreachable(f"the connection to {self.api_url} broke: {_reason(exc)}") from exc
            announced = response.headers.get("Content-Length")
            if announced is not None and int(announced) != written:
                raise Unreachable(f"the connection to {self.api_url} broke after {written} of {announced} bytes")
            return written

    def stream(self, path: str, query: Mapping[str, str], last_event_id: str | None) -> Iterator[str]:
        """Lines of an event stream, until it ends or breaks."""
        headers = {"Accept": "text/event-stream"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        with self._open("GET", path + _query(query), STREAM_SILENCE_LIMIT_S, headers) as response:
            try:
                for line in response:
                    yield line.decode(errors="replace").rstrip("\r\n")
            except _NETWORK_ERRORS as exc:
                raise Unreachable(f"the connection to {self.api_url} broke: {_reason(exc)}") from exc

    def _open(
        self,
        method: str,
        path: str,
        limit_s: float,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> http.client.HTTPResponse:
        request = urllib.request.Request(self.api_url + path, data=data, method=method)
        request.add_header("User-Agent", f"flora-cli/{VERSION}")
        if self._token is not None:
            request.add_header("Authorization", f"Bearer {self._token}")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            response: http.client.HTTPResponse = self._opener.open(request, timeout=limit_s)
        except urllib.error.HTTPError as exc:
            with exc:
                raise _refusal(exc) from None
        except _NETWORK_ERRORS as exc:
            hint = (
                "; is flora running there?" if isinstance(getattr(exc, "reason", exc), ConnectionRefusedError) else ""
            )
            raise Unreachable(f"cannot reach {self.api_url}: {_reason(exc)}{hint}") from exc
        return response

    def _json(self, response: http.client.HTTPResponse) -> Any:
        text = _text(response)
        try:
            return json.loads(text)
        except ValueError:
            raise CliError(f"{self.api_url} did not answer with JSON; an API URL ends in /api") from None


def connect(args: Args, *, as_somebody: bool = True) -> ApiClient:
    """The API that the flags, the environment or cli.json name, with the token to use there.

    Args:
        args: The parsed command line.
        as_somebody: False: a token is not needed, and none is sent.
    Raises:
        UsageError: the URL makes no sense.
        CliError: a token is needed, and there is none for this server.
    """
    kept = user_config.load()
    api_url = chosen_api_url(args, kept)
    return ApiClient(api_url, _token(api_url, kept) if as_somebody else None)


def chosen_api_url(args: Args, kept: Mapping[str, Any]) -> str:
    """The API's URL: flag, then FLORA_API_URL, then cli.json, then a flora that runs in this folder, then one on this machine."""
    given = args.api or os.environ.get("FLORA_API_URL") or kept.get("apiUrl")
    text = given or _url_in_this_folder() or DEFAULT_API_URL
    parts = urllib.parse.urlsplit(str(text))
    try:
        valid = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port)
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment or parts.username:
        raise UsageError(f"not an API URL: {text} (expected for example {DEFAULT_API_URL})")
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") or "/api", "", ""))


def _url_in_this_folder() -> str | None:
    """A folder may be anybody's: what it names is not asked, and given no token, unless it is on this machine."""
    url = this_folder.api_url()
    return url if url and is_loopback(urllib.parse.urlsplit(url).hostname or "") else None


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _token(api_url: str, kept: Mapping[str, Any]) -> str:
    token = os.environ.get("FLORA_TOKEN") or ""
    if not token:
        token = str(kept.get("token") or "")
        _refuse_to_leak(api_url, str(kept.get("apiUrl") or api_url))
    if not token:
        raise CliError("no API token; run `flora login`, or set FLORA_TOKEN")
    if not token.isascii() or not token.isprintable():
        raise CliError("the API token has characters that no token has; run `flora login` again")
    return token


def _refuse_to_leak(api_url: str, kept_for: str) -> None:
    host = urllib.parse.urlsplit(api_url).hostname or ""
    if host != urllib.parse.urlsplit(kept_for).hostname and not is_loopback(host):
        raise CliError(
            f"the kept token is for {kept_for} and is not sent to {host}; run `flora login --api {api_url}`,"
            " or set FLORA_TOKEN"
        )


def _query(query: Mapping[str, str] | None) -> str:
    return f"?{urllib.parse.urlencode(query)}" if query else ""


def _text(response: http.client.HTTPResponse) -> str:
    try:
        return response.read().decode(errors="replace")
    except _NETWORK_ERRORS as exc:
        raise Unreachable(f"the connection broke: {_reason(exc)}") from exc


def _refusal(exc: urllib.error.HTTPError) -> CliError:
    if 300 <= exc.code < 400:
        return CliError(f"the API has moved to {exc.headers.get('Location', 'another place')}; give its URL with --api")
    try:
        told = json.loads(exc.read())
    except (ValueError, *_NETWORK_ERRORS):
        told = None
    if not isinstance(told, dict):
        return ApiError(exc.code, f"request failed: {exc.code} {exc.reason}")
    message = str(told.get("message") or f"request failed: {exc.code} {exc.reason}")
    code, details = str(told.get("code", "")), told.get("details", told)
    if exc.code == 401:
        message += " (the API token is missing, wrong or revoked; run `flora login`)"
    return ApiError(exc.code, message, code, details)


def _reason(exc: BaseException) -> str:
    reason = getattr(exc, "reason", exc)
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    return str(getattr(reason, "strerror", None) or reason) or type(reason).__name__
