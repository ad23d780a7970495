"""What is PostgreSQL's own is tried where there is a server: `make test-postgres`."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from sqlalchemy import Connection

from data.engine import make_engine
from tests.stage import databases

collect_ignore_glob = [] if databases.SERVER else ["test_*.py"]


@pytest.fixture
def server() -> Generator[Connection]:
    """The server, as who administers it."""
    engine = make_engine(databases.SERVER.format("postgres"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection
    engine.dispose()
