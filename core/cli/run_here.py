"""Do a run in the process of a command, whatever ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn

import typer

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.cli.common import FAILED, cancel_when_ended, ending_in_order
from core.cli.output import complain, print_note
from core.cli.progress import run_progress
from core.cli.tables import advice_for
from core.leases import lease
from core.syncs import runs
from core.worker import inline_run
from data.models import Run


def run_here(bridge: Bridge, queue: Callable[[str], Run], *, patience_s: float | None) -> Run:
    """Queue a run for this process and do it, by the same claim as a worker; whatever ends this ends the run as well.

    Args:
        queue: queues it for a lease owner.
        patience_s: how long to wait for a query slot; None: as long as it takes.
    """
    lease_owner = lease.new_lease_owner()
    run_id: int | None = None
    ended: list[int] = []
    try:
        with ending_in_order(), inline_run.no_run_left(bridge, lease_owner, ended=ended):
            run_id = queue(lease_owner).id
            assert run_id is not None
            _carry_out(bridge, run_id, lease_owner, patience_s=patience_s)
    except (KeyboardInterrupt, asyncio.CancelledError):
        # A signal can come between the row of the run and the word of it.
        run_id = run_id or next(iter(ended), None)
        if run_id is None:
            raise KeyboardInterrupt from None
    return runs.get_run(bridge, LOCAL, run_id)


def _carry_out(bridge: Bridge, run_id: int, lease_owner: str, *, patience_s: float | None) -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        cancel_when_ended(task)
        with run_progress() as watch:
            await inline_run.carry_out_here(
                bridge, run_id, lease_owner=lease_owner, patience_s=patience_s, watch=watch, notify=print_note
            )

    asyncio.run(main())


def fail(run: Run) -> NoReturn:
    """Exit with the reason why a run did not succeed."""
    complain(run.error_message or f"The run ended as {run.status}.", advice_for(run))
    raise typer.Exit(FAILED)
