"""OAuth2 login with the simulated Discord: a page where one picks who one is, and the token endpoints."""

from __future__ import annotations

import base64
import binascii
from html import escape
from urllib.parse import urlencode

from aiohttp import web

from flora.http.simulator.control.base import reply, sim_of
from flora.http.simulator.errors import JsonObject
from flora.http.simulator.simulator import Simulator

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Log in · simulated Discord</title><link rel="stylesheet" href="/page/page.css">
<main class="login"><h1>Who are you?</h1>
<p>This is the simulated Discord. <strong>{app}</strong> wants to know who you are, and asks for: <code>{scopes}</code>.</p>
<form method="post" action="/oauth2/authorize">{hidden}<div class="choices">{choices}</div>
<p><button class="quiet" name="cancel" value="1">Cancel</button></p></form></main></html>"""
_CHOICE = """<button name="user_id" value="{id}"><strong>{name}</strong> <span>{username}</span><small>{guilds}</small></button>"""
MAX_NAMED_GUILDS = 3
_HEADERS = {
    # No form-action: browsers apply it to where the answer leads, too, and that is flora.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: browsers would send our own form with `Origin: null`, which is refused.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def add_routes(app: web.Application) -> None:
    """Adds the login page and the token endpoints at the places Discord has them."""
    for path in ("/oauth2/authorize", "/api/oauth2/authorize", "/api/v10/oauth2/authorize"):
        app.router.add_get(path, ask)
    app.router.add_post("/oauth2/authorize", allow)
    for base in ("/api", "/api/v10"):
        app.router.add_post(base + "/oauth2/token", token)
        app.router.add_post(base + "/oauth2/token/revoke", revoke)


async def ask(request: web.Request) -> web.Response:
    """Shows everybody one can be."""
    sim, query = sim_of(request), request.query
    problem = _problem(request, query.get("client_id", ""), query.get("redirect_uri", ""))
    if problem is not None:
        return problem
    kept = ("client_id", "redirect_uri", "state", "scope")
    hidden = "".join(f'<input type="hidden" name="{k}" value="{escape(query.get(k, ""))}">' for k in kept)
    choices = "".join(_choice(sim, user) for user in sim.world.users.values() if not user["bot"])
    scopes = escape(query.get("scope", "identify"))
    page = _PAGE.format(app=escape(sim.config.bot_name), scopes=scopes, hidden=hidden, choices=choices)
    return web.Response(text=page, content_type="text/html", headers=_HEADERS)


def _choice(sim: Simulator, user: JsonObject) -> str:
    user_id = user["id"]
    owned = [g.data["name"] for g in sim.world.guilds.values() if g.owner_id == user_id]
    joined = [g.data["name"] for g in sim.world.guilds.values() if g.owner_id != user_id and user_id in g.members]
    parts = [f"{role} of {_listed(names)}" for role, names in (("owner", owned), ("member", joined)) if names]
    return _CHOICE.format(
        id=escape(user_id),
        name=escape(sim.world.display_name(user_id)),
        username=escape(user["username"]),
        guilds=escape("; ".join(parts) or "in no guild"),
    )


def _listed(names: list[str]) -> str:
    more = len(names) - MAX_NAMED_GUILDS
    return ", ".join(names[:MAX_NAMED_GUILDS]) + (f" and {more} more" if more > 0 else "")


def _problem(request: web.Request, client_id: str, redirect_uri: str) -> web.Response | None:
    sim = sim_of(request)
    if client_id != sim.config.application_id:
        return web.Response(status=400, text="Unknown application: client_id is not the simulated bot's.")
    if not sim.grants.may_redirect_to(redirect_uri):
        return web.Response(status=400, text="Invalid OAuth2 redirect_uri.")
    return None


async def allow(request: web.Request) -> web.Response:
    """Sends the person back with a code, or without one if they would rather not."""
    sim, form = sim_of(request), await request.post()
    redirect_uri, user_id = str(form.get("redirect_uri", "")), str(form.get("user_id", ""))
    problem = _problem(request, str(form.get("client_id", "")), redirect_uri)
    if problem is not None:
        return problem
    if form.get("cancel"):
        query = {
            "error": "access_denied",
            "error_description": "The resource owner or authorization server denied the request",
        }
    elif user_id not in sim.world.users:
        return web.Response(status=400, text="There is no such user.")
    else:
        query = {"code": sim.grants.allow(user_id, str(form.get("scope") or "identify"), redirect_uri)}
    if form.get("state"):
        query["state"] = str(form["state"])
    joint = "&" if "?" in redirect_uri else "?"
    raise web.HTTPFound(f"{redirect_uri}{joint}{urlencode(query)}")


async def _client(request: web.Request) -> dict[str, str] | None:
    """The form, if it comes from the application; its credentials are in the form or in a Basic header."""
    form = {k: str(v) for k, v in (await request.post()).items()}
    client_id, client_secret = form.get("client_id", ""), form.get("client_secret", "")
    kind, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if kind == "Basic":
        try:
            client_id, _, client_secret = base64.b64decode(credentials).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
    return form if sim_of(request).grants.is_client(client_id, client_secret) else None


async def token(request: web.Request) -> web.Response:
    """Exchanges a code, or renews tokens."""
    form = await _client(request)
    if form is None:
        return reply({"error": "invalid_client"}, 401)
    grants = sim_of(request).grants
    match form.get("grant_type"):
        case "authorization_code":
            issued = grants.exchange(form.get("code", ""), form.get("redirect_uri", ""))
        case "refresh_token":
            issued = grants.refresh(form.get("refresh_token", ""))
        case _:
            return reply({"error": "unsupported_grant_type"}, 400)
    if issued is None:
        return reply({"error": "invalid_grant", "error_description": 'Invalid "code" in request.'}, 400)
    return reply(issued)


async def revoke(request: web.Request) -> web.Response:
    form = await _client(request)
    if form is None:
        return reply({"error": "invalid_client"}, 401)
    sim_of(request).grants.revoke(form.get("token", ""))
    return reply({})
