"""Work handed out by the table of runs alone: each worker looks at it every second, and when a run has ended."""

from __future__ import annotations

import asyncio

from core.worker.run_tasks import RunTasks


class EmbeddedDispatch:
    """Every look takes what may start. Needs nothing but the database."""

    def __init__(self, runs: RunTasks) -> None:
        self._runs = runs

    def take_next(self) -> None:
        self._runs.fill()

    async def serve(self) -> None:
        await asyncio.Event().wait()  # no one tells of anything
