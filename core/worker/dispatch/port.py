"""What hands out work to a worker, as far as the worker knows of it."""

from __future__ import annotations

from typing import Protocol


class Dispatch(Protocol):
    """Hands out runs. A run's row, its index and its lease decide; a run that is handed out twice, late or never by
    this is started once, and seconds later."""

    def take_next(self) -> None:
        """Take the next runs from the table, if that is to be done at this moment.

        In a thread; call it every second, and when a run has ended.
        """
        ...

    async def serve(self) -> None:
        """Take the runs that this worker is told of, until cancelled."""
        ...
