"""Runs the front-end actor in a real actor system; prints what came of each step, a JSON object per line.

A program of its own, because starting an actor system changes the process that does it.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

from flora.actors import system
from flora.actors.http_frontend import HttpFrontend
from flora.messages.base import Failed, Ok
from flora.messages.ids import ReqId
from flora.messages.lifecycle import Drain, Peers, PeersChanged, Start
from flora.messages.settings import ApiSettings, DatabaseSettings, Settings

LIMIT_S = 10


def told(reply: Any) -> dict[str, Any]:
    match reply:
        case Ok():
            return {"ok": reply.value}
        case Failed():
            return {"failed": reply.code, "message": reply.message}
    return {"unexpected": repr(reply)}


def fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=LIMIT_S) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()
    except urllib.error.URLError as exc:
        return 0, str(exc.reason)


def main(folder: Path) -> None:
    settings = Settings(
        data_dir=folder,
        api=ApiSettings(address="127.0.0.1", port=0),
        database=DatabaseSettings(url="postgresql://nobody:x@127.0.0.1:1/none"),
    )
    running = system.start(b"a cluster secret for one test....", "flora=info", folder)
    try:
        first = running.create(HttpFrontend)
        start = Start(req_id=ReqId("1"), settings=settings, peers=Peers(), name="http")
        started = told(running.ask(first, start, LIMIT_S))
        print(json.dumps(started))
        base = f"http://127.0.0.1:{started['ok']['port']}/api"
        print(json.dumps({"health": fetch(f"{base}/health"), "ready": fetch(f"{base}/ready")}))
        running.tell(first, PeersChanged(peers=Peers(runtime=running.create(HttpFrontend))))

        second = running.create(HttpFrontend)
        taken = replace(settings, api=replace(settings.api, port=started["ok"]["port"]))
        print(json.dumps(told(running.ask(second, replace(start, settings=taken, name="second"), LIMIT_S))))
        print(json.dumps({"health": fetch(f"{base}/health")}))
        print(json.dumps(told(running.ask(first, Drain(req_id=ReqId("2"), limit_s=1), LIMIT_S))))
        print(json.dumps({"health": fetch(f"{base}/health"), "me": fetch(f"{base}/auth/me")}))
    finally:
        running.shutdown(LIMIT_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
