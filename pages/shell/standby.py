"""Beside the server of the dashboard, as long as it serves: somebody has to notice that no worker is there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from core import settings
from core.alerts import standby
from core.errors import SettingsError

log = logging.getLogger(__name__)


@asynccontextmanager
async def standing_by() -> AsyncGenerator[None]:
    """Look after the workers while inside."""
    try:
        read = settings.read()
    except SettingsError as exc:  # each page says so
        log.warning("workers not looked at reason=%s", exc)
        yield
        return
    task = asyncio.create_task(standby.serve(read))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
