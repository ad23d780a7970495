"""Connections of those whose sign-in does not count: few at a time, for each takes memory that anyone could ask for."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME
from streamlit.web.server.starlette.starlette_websocket import (
    _get_signed_cookie_with_chunks,  # pyright: ignore[reportPrivateUsage]
)

from core.access import sign_in
from pages.shell import resources, sign_in_setup

# Each may hold one message of `server.maxMessageSize`: together as much as the files that are taken.
MOST_CONNECTIONS = 32
_TRY_AGAIN_LATER = 1013


class StrangerLimit:
    """Keep the newest connections without a sign-in; the oldest ends when there are too many.

    So no one who holds connections open keeps others from signing in.
    """

    def __init__(
        self, app: ASGIApp, most: int | None = None, counts: Callable[[dict[str, Any]], bool] | None = None
    ) -> None:
        self._app = app
        self._counts = counts or is_admitted
        # Where no one signs in, only this machine itself comes.
        self._most = most or (MOST_CONNECTIONS if sign_in_setup.is_set_up() else math.inf)
        self._ends = dict[int, asyncio.Event]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of a page; anything else passes."""
        if scope["type"] != "websocket" or await self._is_known(scope):
            await self._app(scope, receive, send)
            return
        with self._among_the_newest() as end:
            await self._app(scope, _receiving_until(receive, end), send)

    async def _is_known(self, scope: Scope) -> bool:
        claims = read_claims(scope)
        return claims is not None and await run_in_threadpool(self._counts, claims)

    @contextmanager
    def _among_the_newest(self) -> Generator[asyncio.Event]:
        end = asyncio.Event()
        while len(self._ends) >= self._most:
            self._ends.pop(next(iter(self._ends))).set()
        self._ends[id(end)] = end
        try:
            yield end
        finally:
            self._ends.pop(id(end), None)


def read_claims(scope: Scope) -> dict[str, Any] | None:
    """Return what the sign-in that a browser carries says, None if it carries none of ours."""
    cookie = _get_signed_cookie_with_chunks(HTTPConnection(scope).cookies, USER_COOKIE_NAME)
    if cookie is None:
        return None
    try:
        claims = json.loads(cookie)
    except ValueError:
        return None
    return claims if isinstance(claims, dict) else None


def is_admitted(claims: dict[str, Any]) -> bool:
    """Return whether a sign-in counts here: the provider gives one to anyone, and a copy outlives its end."""
    bridge = resources.opened()
    return bridge is not None and sign_in.is_admitted(bridge, claims)


def _receiving_until(receive: Receive, end: asyncio.Event) -> Receive:
    async def receive_or_end() -> Message:
        message, ended = asyncio.ensure_future(receive()), asyncio.ensure_future(end.wait())
        try:
            await asyncio.wait({message, ended}, return_when=asyncio.FIRST_COMPLETED)
            if end.is_set():
                return {"type": "websocket.disconnect", "code": _TRY_AGAIN_LATER}
            return message.result()
        finally:
            message.cancel()
            ended.cancel()

    return receive_or_end
