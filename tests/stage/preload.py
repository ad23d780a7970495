"""Import this in a process that commands are forked from: what each of them would do first is done by then.

Nothing that a command decides is taken from it: it reads its settings, and opens its home, by itself.
"""

from __future__ import annotations

import asyncio.runners  # noqa: F401
import atexit
import gc
import sqlite3  # noqa: F401

import alembic.command  # noqa: F401
import alembic.config  # noqa: F401
import anyio._backends._asyncio  # noqa: F401
import duckdb  # noqa: F401
import filelock  # noqa: F401
import typer.rich_utils  # noqa: F401
from sqlalchemy.orm import configure_mappers

import core.cli.progress
import core.worker.service  # noqa: F401
from core.cli import app
from core.settings import Settings
from core.vendors import http

configure_mappers()
app.command().load_all()
http.load_trusted()
Settings(_env_file=None)  # type: ignore[call-arg]
gc.collect()
gc.freeze()
atexit.register(gc.unfreeze)  # extensions complain of what is left of them at the end
