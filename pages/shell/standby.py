"""Beside the server of the dashboard, as long as it serves, for a machine or an installation without a worker.

Somebody has to notice that none is there, and to tidy the copies of members on a machine that never has one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from core import settings
from core.alerts import standby
from core.errors import SettingsError
from core.worker import upkeep

log = logging.getLogger(__name__)


@asynccontextmanager
async def standing_by() -> AsyncGenerator[None]:
    """Look after the workers, and after what is copied here, while inside."""
    try:
        read = settings.read()
    except SettingsError as exc:  # each page says so
        log.warning("workers not looked at reason=%s", exc)
        yield
        return
    tasks = [asyncio.create_task(standby.serve(read)), asyncio.create_task(upkeep.serve(read))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
