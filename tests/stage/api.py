"""What a worker answers over HTTP, served in this process, and what asks there."""

from __future__ import annotations

import json
import socket
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import jsonschema

from core.access import audit_log, tokens
from core.access.roles import LOCAL, Actor
from core.api.answers import OPENAPI
from core.api.server import ApiServer
from core.bridge import Bridge
from core.clock import SYSTEM_CLOCK, Clock
from core.syncs import recurring
from core.worker import service
from tests.stage.home import copy_home
from tests.stage.sandbox import POWER

DESCRIPTION: dict[str, Any] = json.loads(OPENAPI.read_text())


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


class Api:
    """A home whose power users were exported as run 1 of sync 1 to group 1, and what asks there with each role."""

    def __init__(self, bridge: Bridge, client: httpx.Client) -> None:
        self.bridge = bridge
        self.client = client
        self.analyst = sending(new_token(bridge, "analyst", name="airflow"))
        self.viewer = sending(new_token(bridge, "viewer", name="reader"))

    def ask(self, method: str, path: str, *, by: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        return self.client.request(method, path, headers=self.analyst if by is None else by, **more)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.ask("GET", path, **more)


@contextmanager
def exported_api(connected: Path, home: Path, *, clock: Clock = SYSTEM_CLOCK) -> Generator[Api]:
    """Serve a home, copied from a connected one, that has exported the power users."""
    with copy_home(connected, home).bridge(clock=clock) as bridge:
        recurring.add_sync(bridge, LOCAL, POWER)
        service.once(bridge)
        with served(bridge) as client:
            yield Api(bridge, client)


def conforms(answer: httpx.Response, schema: str) -> Any:
    """Return the document of an answer that is as described."""
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    jsonschema.validate(document, {"$ref": f"#/components/schemas/{schema}", "components": DESCRIPTION["components"]})
    return document


def code_of(answer: httpx.Response) -> tuple[int, str]:
    error = conforms(answer, "Error")["error"]
    assert error["message"]
    assert error["advice"]
    return answer.status_code, error["code"]


def audit_lines(bridge: Bridge) -> list[tuple[str, str, str]]:
    return [(line.who, line.action, line.outcome) for line in audit_log.list_audit(bridge, LOCAL, limit=200)]


def raw(client: httpx.Client, method: str, target: str, headers: dict[str, str]) -> tuple[int, str]:
    """Send an address as it is, which clients would put right first."""
    sent = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    address = (client.base_url.host, client.base_url.port or 0)
    with closing(socket.create_connection(address, timeout=20)) as connection:
        connection.sendall(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{sent}\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body
