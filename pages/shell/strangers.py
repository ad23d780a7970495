"""Connections of those who are not signed in: few at a time, for each takes memory that anyone could ask for."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Generator
from contextlib import contextmanager

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME
from streamlit.web.server.starlette.starlette_websocket import (
    _get_signed_cookie_with_chunks,  # pyright: ignore[reportPrivateUsage]
)

from pages.shell import sign_in_setup

# Each may hold one message of `server.maxMessageSize`: together as much as the files that are taken.
MOST_CONNECTIONS = 32
_TRY_AGAIN_LATER = 1013


class StrangerLimit:
    """Keep the newest connections without a sign-in; the oldest ends when there are too many.

    So no one who holds connections open keeps others from signing in.
    """

    def __init__(self, app: ASGIApp, most: int | None = None) -> None:
        self._app = app
        # Where no one signs in, only this machine itself comes.
        self._most = most or (MOST_CONNECTIONS if sign_in_setup.is_set_up() else math.inf)
        self._ends = dict[int, asyncio.Event]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of a page; anything else passes."""
        if scope["type"] != "websocket" or has_signed_in(scope):
            await self._app(scope, receive, send)
            return
        with self._among_the_newest() as end:
            await self._app(scope, _receiving_until(receive, end), send)

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


def has_signed_in(scope: Scope) -> bool:
    """Return whether a browser carries a sign-in of ours; whether it still counts is asked elsewhere."""
    return _get_signed_cookie_with_chunks(HTTPConnection(scope).cookies, USER_COOKIE_NAME) is not None


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
