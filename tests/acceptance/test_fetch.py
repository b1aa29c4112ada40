"""Guild scripts that fetch: from where they may, and from where they may not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(60)]

FETCHES = """
on('messageCreate', async (msg) => {
  if (msg.author.bot) return
  try {
    const response = await fetch(msg.content, { headers: { 'X-From': 'a script' } })
    await msg.reply(`${response.status} ${await response.text()}`)
  } catch (error) {
    await msg.reply(`${error.name} ${error.code}: ${error.message}`)
  }
})
"""


class Site(ThreadingHTTPServer):
    """A web server on loopback that counts who came and who left."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.visits: list[str] = []
        self.left = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        site = self.server
        assert isinstance(site, Site)
        site.visits.append(self.path)
        if self.path == "/hangs":
            self.connection.recv(1)  # comes back when the other side closes
            site.left.set()
            return
        if self.path == "/inside":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            return
        body = f"hello {self.headers['X-From']}, {self.headers['User-Agent']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.05,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.mark.scenario("T36")
def test_given_a_script_when_it_fetches_from_this_machine_then_it_is_refused(flora, site):
    guild = flora.new_guild()
    guild.deploy(FETCHES)
    refused_before = flora.metrics()["fetches_refused"]

    answers = {
        place: guild.ask(place) for place in (site.url("/"), f"http://localhost:{site.server_port}/", "http://[::1]/")
    }

    assert all(answer.startswith("TypeError FETCH_BLOCKED: fetch failed: ") for answer in answers.values()), answers
    assert site.visits == []
    assert flora.metrics()["fetches_refused"] == refused_before + 3


@pytest.mark.scenario("T36")
@pytest.mark.parametrize(
    "import_line",
    [
        "import x from 'file:///etc/hostname'",
        "import x from '/etc/hostname'",
        "const x = await import('file:///etc/hostname')",
    ],
)
def test_given_a_script_when_it_imports_a_file_of_the_host_then_the_deploy_is_refused(flora, refused, import_line):
    guild = flora.new_guild()

    with pytest.raises(refused) as caught:
        guild.deploy_files({"main.ts": f"{import_line}\nconsole.log(x)\n"})

    assert caught.value.status == 400


@pytest.mark.scenario("T29")
def test_given_an_exception_for_a_server_when_scripts_fetch_then_they_reach_it_and_nothing_else(
    make_flora, site, wait_for
):
    allow = {
        "RUNTIME_MAX_WORKERS": "1",
        "RUNTIME_DISPATCH_TIMEOUT_SECS": "1",
        "FETCH_ALLOW": f"127.0.0.1:{site.server_port}",
    }
    flora = make_flora(allow).start()
    flora.unlimited()
    guild = flora.new_guild()
    guild.deploy(FETCHES)

    assert guild.ask(site.url("/page")) == "200 hello a script, flora"
    assert "FETCH_BLOCKED" in guild.ask(site.url("/inside"))
    guild.say(site.url("/hangs"))
    guild.log_line("dispatch timed out")
    assert site.left.wait(5), "the connection of a timed-out handler stays open"
    assert guild.ask(site.url("/again")).startswith("200 ")
    assert flora.metrics()["fetched_bytes"] > 0
