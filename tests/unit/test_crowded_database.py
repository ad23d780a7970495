"""More is asked of a database at once than one process has connections for."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from core.access import people
from core.access.roles import LOCAL
from core.bridge import Bridge
from core.errors import StorageFailed
from data.engine import read_session


@pytest.fixture
def crowd(bridge: Bridge, monkeypatch: pytest.MonkeyPatch):
    """Have every connection of the process in use, and no one wait long for one."""
    pool: Any = bridge.engine.pool
    monkeypatch.setattr(pool, "_timeout", 0.05)
    with ExitStack() as stack:
        for _ in range(pool.size() + pool._max_overflow):
            stack.enter_context(read_session(bridge.engine)).connection()
        yield


def test_who_finds_no_connection_left_is_told_to_try_again(bridge: Bridge, crowd: None):
    with pytest.raises(StorageFailed) as caught:
        people.list_people(bridge, LOCAL)

    assert str(caught.value) == "The database was busy: all connections that this process may have were in use."
    assert caught.value.advice == "Try again in a moment."
