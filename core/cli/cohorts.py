"""Commands for one cohort: list, match, export."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

import typer

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.cli.as_json import cohort_as_json, funnel_as_json, run_as_json
from core.cli.common import (
    FAILED,
    PATIENCE_S,
    Json,
    To,
    cancel_when_ended,
    ending_in_order,
    open_here,
    whole_number,
)
from core.cli.output import advice_for, complain, print_cohorts, print_funnel, print_json, print_note, print_run
from core.errors import NotFound
from core.reports import match_funnel
from core.syncs import cohorts, one_time, runs
from data.models import Run, RunStatus

app = typer.Typer()

CohortId = Annotated[str, typer.Argument(metavar="COHORT_ID")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for a query slot as long as it takes.")]


@app.command("cohorts")
def list_cohorts(as_json: Json = False) -> None:
    """List the project's cohorts, fresh from Mixpanel."""
    bridge = open_here()
    listed = cohorts.list_cohorts(bridge, LOCAL)
    if as_json:
        print_json([cohort_as_json(cohort) for cohort in listed])
    else:
        print_cohorts(listed)
    if left_out := cohorts.count_cohorts_left_out(bridge, LOCAL):
        print_note(f"Left out, since Mixpanel lists them without a usable “id” of their own: {left_out:,}.")


@app.command()
def export(
    cohort_id: CohortId,
    group: Annotated[str | None, typer.Option(metavar="NAME", help="Group name; else it follows the cohort's.")] = None,
    to: To = None,
    full: Annotated[bool, typer.Option("--full", help="Overwrite in full, whatever it holds.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and compare, write nothing.")] = False,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Export a cohort once, here and now."""
    number, bridge = whole_number(cohort_id, "COHORT_ID"), open_here()
    queued: list[Run] = []

    def queue(lease_owner: str) -> Run:
        queued.append(
            one_time.start_export(
                bridge,
                LOCAL,
                number,
                group=group,
                to=to,
                full=full,
                dry_run=dry_run,
                trigger="cli",
                lease_owner=lease_owner,
            )
        )
        return queued[0]

    try:
        run = _run_here(bridge, queue, patience_s=None if wait else PATIENCE_S)
    except Exception:
        if as_json and queued:
            print_json(run_as_json(runs.get_run(bridge, LOCAL, queued[0].id or 0)))
        raise
    if as_json:
        print_json(run_as_json(run))
    elif run.status == RunStatus.SUCCEEDED:
        print_run(run)
    if run.status != RunStatus.SUCCEEDED:
        _fail(run)


@app.command("match")
def show_match(
    cohort_id: CohortId,
    to: To = None,
    last: Annotated[bool, typer.Option("--last", help="As of the last read; Mixpanel is not asked.")] = False,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Read a cohort: how many of its users can be targeted, and why the others cannot; nothing is written."""
    number, bridge = whole_number(cohort_id, "COHORT_ID"), open_here()
    if last:
        run = _last_read(bridge, number)
    else:
        run = _read_now(bridge, number, to=to, patience_s=None if wait else PATIENCE_S)
    if as_json:
        print_json(funnel_as_json(run))
    else:
        print_funnel(run)


def _last_read(bridge: Bridge, cohort_id: int) -> Run:
    reads = match_funnel.list_reads(bridge, LOCAL, cohort_id, limit=1)
    if not reads:
        raise NotFound(f"Cohort {cohort_id} was not read yet.", advice="Omit --last to read it now.")
    return reads[0]


def _read_now(bridge: Bridge, cohort_id: int, *, to: str | None, patience_s: float | None) -> Run:
    run = _run_here(
        bridge,
        lambda lease_owner: one_time.start_export(
            bridge, LOCAL, cohort_id, to=to, dry_run=True, trigger="cli", lease_owner=lease_owner
        ),
        patience_s=patience_s,
    )
    if run.status not in (RunStatus.SUCCEEDED, RunStatus.HELD):
        _fail(run)
    return run


def _run_here(bridge: Bridge, queue: Callable[[str], Run], *, patience_s: float | None) -> Run:
    """Queue a run for this process and do it, by the same claim as a worker; whatever ends this ends the run as well.

    Args:
        queue: queues it for a lease owner.
        patience_s: how long to wait for a query slot; None: as long as it takes.
    """
    from core.leases import lease
    from core.worker import inline_run

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
    from core.cli.progress import run_progress
    from core.worker import inline_run

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        cancel_when_ended(task)
        with run_progress() as watch:
            await inline_run.carry_out_here(
                bridge, run_id, lease_owner=lease_owner, patience_s=patience_s, watch=watch, notify=print_note
            )

    asyncio.run(main())


def _fail(run: Run) -> None:
    complain(run.error_message or f"The run ended as {run.status}.", advice_for(run))
    raise typer.Exit(FAILED)
