"""Import this in a process that commands are forked from: what each of them would do first is done by then.

Nothing that a command decides is taken from it: it reads its settings, and opens its home, by itself.
"""

from __future__ import annotations

import asyncio.runners  # noqa: F401
import atexit
import gc
import sqlite3  # noqa: F401
import tempfile
from pathlib import Path

import alembic.command  # noqa: F401
import alembic.config  # noqa: F401
import anyio._backends._asyncio  # noqa: F401
import cryptography.fernet  # noqa: F401
import duckdb  # noqa: F401
import filelock  # noqa: F401
import sqlalchemy.dialects.sqlite  # noqa: F401
import typer._adapters  # noqa: F401
import typer.rich_utils  # noqa: F401
from sqlalchemy.orm import configure_mappers

import core.cli.progress
import core.worker.service  # noqa: F401
from core.access.roles import LOCAL
from core.bridge import open_bridge
from core.cli import app
from core.settings import Settings
from core.syncs import runs
from core.vendors import http
from data.models import RunFilter
from tests.stage.statements import share_statements


def _compile_statements() -> None:
    """Compile what every command asks of its database: SQLAlchemy keeps it for those to come."""
    share_statements()
    with tempfile.TemporaryDirectory() as folder:
        bridge = open_bridge(Settings(home=Path(folder) / "home", _env_file=None))  # type: ignore[call-arg]
        runs.list_runs(bridge, LOCAL, RunFilter(), limit=1)
        bridge.engine.dispose()


configure_mappers()
app.command().load_all()
http.load_trusted()
_compile_statements()
gc.collect()
gc.freeze()
atexit.register(gc.unfreeze)  # extensions complain of what is left of them at the end
