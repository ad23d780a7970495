"""Connections without a sign-in: the newest stay, and no one who holds some open keeps others out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from pages.shell.strangers import StrangerLimit
from tests.stage.serving import serving

SECRET = "a-secret-of-the-cookie-of-this-very-test"


async def repeat(socket: WebSocket) -> None:
    await socket.accept()
    async for said in socket.iter_text():
        await socket.send_text(said)


@pytest.fixture
def port() -> Iterator[int]:
    limit = Middleware(StrangerLimit, most=2, counts=lambda claims: claims["sub"] == "vera")
    with serving(Starlette(routes=[WebSocketRoute("/", repeat)], middleware=[limit])) as port:
        yield port


def is_open(connection: ClientConnection) -> bool:
    try:
        connection.send("still there?")
        return connection.recv(timeout=10) == "still there?"
    except ConnectionClosed:
        return False


def open_one(stack: ExitStack, port: int, cookie: str = "") -> ClientConnection:
    headers = {"Cookie": f"_streamlit_user={cookie}"} if cookie else None
    connection = stack.enter_context(connect(f"ws://127.0.0.1:{port}/", additional_headers=headers))
    assert is_open(connection)
    return connection


def test_the_oldest_connection_without_a_sign_in_ends_for_a_new_one(port: int):
    with ExitStack() as stack:
        first, second, third = (open_one(stack, port) for _ in range(3))
        assert [is_open(each) for each in (first, second, third)] == [False, True, True]
        second.close()
        fourth = open_one(stack, port)
        assert [is_open(each) for each in (third, fourth)] == [True, True], "who left made room"


def test_whose_sign_in_counts_is_not_counted(port: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("streamlit.web.server.starlette.starlette_websocket.get_cookie_secret", lambda: SECRET)
    signed = create_signed_value(SECRET, "_streamlit_user", '{"sub": "vera"}').decode()
    forged = create_signed_value("another secret", "_streamlit_user", '{"sub": "vera"}').decode()
    refused = create_signed_value(SECRET, "_streamlit_user", '{"sub": "mallory"}').decode()
    empty = create_signed_value(SECRET, "_streamlit_user", "[]").decode()
    with ExitStack() as stack:
        inside = [open_one(stack, port, signed) for _ in range(3)]
        outside = [open_one(stack, port, cookie) for cookie in (forged, "nonsense", "", empty, refused)]

        assert [is_open(each) for each in inside] == [True] * 3
        assert [is_open(each) for each in outside] == [False, False, False, True, True]
