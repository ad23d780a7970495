"""A server whose machine vanishes, or never answers, is waited for no longer than a lease lasts."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Generator
from contextlib import closing, suppress
from typing import Any

import pytest
from sqlalchemy import make_url

from core.bridge import Bridge
from core.clock import LEASE_TIMES
from data import run_jobs
from data.engine import StorageError, make_engine, read_session


@pytest.fixture
def listener() -> Generator[socket.socket]:
    """A port of this machine."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield listening


def url_by(listener: socket.socket, bridge: Bridge, **query: str) -> str:
    """Return the URL of the database by way of a port."""
    host, port = listener.getsockname()
    url = make_url(bridge.settings.database_url)
    return url.set(host=host, port=port, query=query).render_as_string(hide_password=False)


def carry(listener: socket.socket, server: str) -> None:
    """Carry what one client and the server send each other, in threads, until either is gone."""
    client, _ = listener.accept()
    there = socket.socket(socket.AF_UNIX)
    there.connect(server)

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while part := source.recv(65536):
                target.sendall(part)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    threads = [threading.Thread(target=copy, args=pair, daemon=True) for pair in ((client, there), (there, client))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    there.close()


def test_a_connection_over_the_network_notices_within_a_lease_that_the_machine_is_gone(
    bridge: Bridge, listener: socket.socket
):
    folder = make_url(bridge.settings.database_url).query["host"]
    carrier = threading.Thread(target=carry, args=(listener, f"{folder}/.s.PGSQL.5432"), daemon=True)
    carrier.start()
    engine = make_engine(url_by(listener, bridge))

    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        with closing(socket.socket(fileno=os.dup(driver.fileno()))) as used:
            idle, between, count, unanswered_ms = (
                used.getsockopt(socket.IPPROTO_TCP, option)
                for option in (
                    socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT,
                )
            )  # fmt: skip
    engine.dispose()
    carrier.join(10)

    assert idle + between * count < LEASE_TIMES.lease_s
    assert unanswered_ms / 1000 < LEASE_TIMES.lease_s


def test_the_engine_that_hands_out_work_waits_no_longer(bridge: Bridge):
    arguments = run_jobs.connect_arguments(bridge.engine)

    assert {"connect_timeout", "keepalives_idle", "tcp_user_timeout"} <= arguments.keys()


def test_a_port_that_never_answers_is_given_up(bridge: Bridge, listener: socket.socket):
    engine = make_engine(url_by(listener, bridge, connect_timeout="2"))
    began_s = time.monotonic()

    with pytest.raises(StorageError, match="cannot be reached"), read_session(engine) as session:
        session.connection()

    assert time.monotonic() - began_s < 10
