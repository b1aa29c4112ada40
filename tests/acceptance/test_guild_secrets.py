"""A guild's secret from the API to a server, through deaths and changes; and nowhere else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(60)]

FIRST, SECOND = "first-s3cr3t-value", "second-s3cr3t-value"
SENDS_ITS_KEY = """
on('messageCreate', async (msg) => {
  if (msg.author.bot) return
  const key = secrets.get('KEY')
  console.log('the key is', key)
  try {
    const response = await fetch(msg.content, { headers: { 'X-Key': key ?? 'none' } })
    await msg.reply(await response.text())
  } catch (error) {
    await msg.reply(error.message)
  }
})
"""


class Echo(BaseHTTPRequestHandler):
    """Says back which key came."""

    def do_GET(self) -> None:
        assert isinstance(self.server, KeySite)
        self.server.keys.append(self.headers["X-Key"])
        body = f"came: {self.headers['X-Key']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class KeySite(ThreadingHTTPServer):
    daemon_threads = True
    keys: list[str]


@pytest.fixture
def site() -> Iterator[KeySite]:
    with KeySite(("127.0.0.1", 0), Echo) as made:
        made.keys = []
        thread = threading.Thread(target=made.serve_forever, args=(0.05,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def files_with(folder: Path, *words: str) -> list[str]:
    wanted = [word.encode() for word in words]
    files = (path for path in folder.rglob("*") if path.is_file())
    return [str(path) for path in files if any(word in path.read_bytes() for word in wanted)]


@pytest.mark.scenario("T51")
def test_given_a_secret_when_it_changes_and_processes_die_then_servers_get_the_newest_and_nobody_else_any(
    make_flora, site, wait_for
):
    url = f"http://127.0.0.1:{site.server_port}/"
    flora = make_flora(
        {
            "RUNTIME_MAX_WORKERS": "1",
            "FETCH_ALLOW": f"127.0.0.1:{site.server_port},localhost:{site.server_port}",
            "SECRETS_ALLOW_HTTP": "true",
            "RUST_LOG": "trace",
        }
    ).start()
    flora.unlimited()
    guild = flora.new_guild()
    path = f"/secrets/{guild.id}"
    guild.deploy(SENDS_ITS_KEY)
    assert guild.ask(url) == "came: none"

    put = flora.api("PUT", f"{path}/KEY", {"value": FIRST, "allowed_hosts": ["127.0.0.1"]})
    said = [guild.ask(url), guild.ask(f"http://localhost:{site.server_port}/")]
    flora.api("PUT", f"{path}/KEY", {"value": SECOND, "allowed_hosts": ["127.0.0.1"]})
    flora.kill("worker 0")
    said.append(guild.ask_until_answered(url, within_s=15))
    placed = flora.cli("place", guild.id, "dedicated")
    said.append(guild.ask_until_answered(url, within_s=15))
    rotated = flora.cli("secret", "rotate", "--json")
    listed = flora.api("GET", path)
    deleted = flora.api("DELETE", f"{path}/KEY")

    assert put == {"name": "KEY", "allowed_hosts": ["127.0.0.1"], "delivered": True}
    assert placed.returncode == 0, placed.stderr
    holder = said[0].removeprefix("came: ")
    assert holder.startswith("__FLORA_SECRET__:")
    assert said == [
        f"came: {holder}",
        "fetch failed: secret not allowed for request host: KEY: localhost is not one of its allowed hosts (127.0.0.1)",
        f"came: {holder}",
        f"came: {holder}",
    ]
    assert list(dict.fromkeys(site.keys)) == ["none", FIRST, SECOND]
    assert listed == [{"name": "KEY", "allowed_hosts": ["127.0.0.1"], "readable": True}]
    assert json.loads(rotated.stdout)["unreadable_count"] == 0, rotated.stderr
    assert deleted == {"deleted": True, "delivered": True}
    assert guild.ask(url) == "came: none"
    assert guild.log_line("the key is __FLORA_SECRET__:")
    audited = flora.cli("audit", "--json").stdout
    assert audited.count("secret.set") == 2
    assert audited.count("secret.delete") == 1
    shown = [audited, *(line["message"] for line in guild.logs()), *said]
    assert not [text for text in shown if FIRST in text or SECOND in text]
    flora.stop()
    assert files_with(flora.folder, FIRST, SECOND) == []
