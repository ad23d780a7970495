"""What a worker answers over HTTP, served in this process."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

import httpx

from core.access import tokens
from core.access.roles import LOCAL, Actor
from core.api.server import ApiServer
from core.bridge import Bridge


def configured(bridge: Bridge, **values: object) -> Bridge:
    return replace(bridge, settings=bridge.settings.model_copy(update={"metrics_address": "127.0.0.1:0", **values}))


@contextmanager
def served(bridge: Bridge, **values: object) -> Generator[httpx.Client]:
    """Serve, with these settings, and give a client that asks there."""
    server = ApiServer(configured(bridge, **values))
    assert server.open()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as client:
            yield client
    finally:
        server.close()


def new_token(bridge: Bridge, role: str = "analyst", *, name: str = "airflow", by: Actor = LOCAL) -> str:
    """Make a token, and return its text."""
    return tokens.make_token(bridge, by, name, role).text


def sending(token: str) -> dict[str, str]:
    """Return the headers that send a token."""
    return {"Authorization": f"Bearer {token}"}
