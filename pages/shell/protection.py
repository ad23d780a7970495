"""What holds for every answer of the dashboard: the names that it answers to, and what browsers may do with answers.

It lies around all that Streamlit serves, so that nothing is served past it: pages and their connection, files, errors.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

import streamlit as st
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import config
from streamlit.url_util import make_url_path
from streamlit.web.server.server_util import is_allowed_origin
from streamlit.web.server.starlette.starlette_websocket import is_host_allowed

from pages.shell import sign_in_setup
from pages.shell.standby import standing_by

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
# Served by Streamlit and used by no one here: they tell strangers how much is going on, and take what they send.
_CLOSED = ("_stcore/metrics", "_stcore/agent/")
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)

_NOT_ALLOWED = "Only the dashboard's own pages may open this connection.\n"

Headers = list[tuple[bytes, bytes]]


class Protection:
    """Answer only what is asked for by a name of the dashboard, and say with every answer what it may be used for."""

    def __init__(self, app: ASGIApp, page: str = "") -> None:
        """`page` is what everything is drawn into, with its scripts."""
        self._app = app
        self._hosts = list_allowed_hosts()
        self._headers = list_headers(page)
        base = st.get_option("server.baseUrlPath") or ""
        self._root = make_url_path(base, "")
        self._closed = tuple(make_url_path(base, path) for path in _CLOSED)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one connection of a page."""
        if scope["type"] == "lifespan":
            async with standing_by():
                await self._app(scope, receive, send)
            return
        self._keep_hosts()
        send = self._sending(send)
        if not is_for_us(scope):
            text = "This address is not one that the dashboard answers to: see docs/security.md, “Names”.\n"
            await PlainTextResponse(text, 400)(scope, receive, send)
        elif scope["type"] == "websocket" and not is_from_us(scope):
            await PlainTextResponse(_NOT_ALLOWED, 403)(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == "/" != self._root:
            await RedirectResponse(self._root)(scope, receive, send)  # who leaves the path out is led to it
        elif scope["path"].startswith(self._closed):
            await PlainTextResponse("There is nothing here.\n", 404)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _keep_hosts(self) -> None:
        """Streamlit reads its settings again when their file changes, and would forget the host of `redirect_uri`."""
        if st.get_option("server.allowedHosts") != self._hosts:
            config.set_option("server.allowedHosts", self._hosts)

    def _sending(self, send: Send) -> Send:
        is_accepted = False

        async def send_with_headers(message: Message) -> None:
            nonlocal is_accepted
            if message["type"] == "websocket.close" and not is_accepted:
                # Without this the server answers by itself, and without headers.
                await send(self._with_headers({"type": "websocket.http.response.start", "status": 403, "headers": []}))
                await send({"type": "websocket.http.response.body", "body": _NOT_ALLOWED.encode()})
                return
            is_accepted = is_accepted or message["type"] == "websocket.accept"
            has_headers = message["type"] in (
                "http.response.start", "websocket.http.response.start", "websocket.accept"
            )  # fmt: skip
            await send(self._with_headers(message) if has_headers else message)

        return send_with_headers

    def _with_headers(self, message: Message) -> Message:
        ours = {name for name, _ in self._headers}
        theirs = [(name, value) for name, value in message.get("headers", []) if name.lower() not in ours]
        return {**message, "headers": theirs + self._headers}


def is_for_us(scope: Scope) -> bool:
    """Return whether a request was sent to a name that the dashboard answers to.

    A browser says the name that it was given: of another site that leads to this machine, that site's.
    """
    named = _header(scope, b"host")
    # A target that is a whole address comes from a proxy's client, and would count before the header.
    return len(named) == 1 and scope["path"].startswith("/") and is_host_allowed(named[0])


def is_from_us(scope: Scope) -> bool:
    """Return whether a page of the dashboard opens a connection, or something that is no browser.

    Streamlit would also take pages of any port of this machine, and to know of others would ask outside for its own
    address, and stand still meanwhile.
    """
    origins = _header(scope, b"origin")
    if not origins:
        return True
    try:
        origin = urlsplit(origins[0])
    except ValueError:
        return False
    named = st.get_option("browser.serverAddress") if config.is_manually_set("browser.serverAddress") else None
    is_ours = origin.netloc in _header(scope, b"host") or (named is not None and origin.hostname == named)
    return len(origins) == 1 and (is_ours or is_allowed_origin(origins[0]))


def _header(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for each, value in scope["headers"] if each.lower() == name]


def list_allowed_hosts() -> list[str]:
    """List the names that the dashboard answers to, the one of `redirect_uri` among them."""
    named = st.get_option("server.allowedHosts") or _LOOPBACK_NAMES
    return list(dict.fromkeys([*named, *filter(None, [sign_in_setup.redirect_host()])]))


def list_headers(page: str) -> Headers:
    """List the headers of every answer, with the scripts that may run within the page."""
    headers = {
        "content-security-policy": content_security_policy(_INLINE_SCRIPT.findall(page)),
        "x-frame-options": "DENY",
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
    }
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def content_security_policy(inline_scripts: Iterable[str]) -> str:
    """Format what pages may load, and that none of them is shown inside of another one.

    Of scripts within the page only those run that it was made with: they are known by their hashes.
    """
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in inline_scripts]
    directives = {
        "default-src": "'self'",
        "script-src": " ".join(["'self'", *(f"'sha256-{each}'" for each in hashes)]),
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": "'self'",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in directives.items())
