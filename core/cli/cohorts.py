"""Commands around one cohort: list, match, export."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.cli.as_json import funnel_as_json, run_as_json
from core.cli.common import FAILED, PATIENCE_S, Json, To, app, open_here, whole_number
from core.cli.output import complain, print_funnel, print_json, print_run, print_table, say
from core.errors import CohortBridgeError, NotFound
from core.reports import match_funnel
from core.syncs import cohorts, one_time, runs
from data.models import Run, RunStatus

# --- cohorts and exports -------------------------------------------------------------------------------------------


@app.command("cohorts")
def list_cohorts(as_json: Json = False) -> None:
    """List the project's cohorts, asked for afresh."""
    found = cohorts.list_cohorts(open_here(), LOCAL)
    if as_json:
        print_json(
            [
                {
                    "id": one.id,
                    "name": one.name,
                    "description": one.description,
                    "count": one.count,
                    "created": one.created,
                    "is_visible": one.is_visible,
                    "exportable": not one.of_groups,
                    "reason": cohorts.NOT_USERS if one.of_groups else None,
                }
                for one in found
            ]
        )
        return
    rows = [
        (str(one.id), one.name, f"{one.count:,}", _cohort_marks(is_visible=one.is_visible, of_groups=one.of_groups))
        for one in found
    ]
    print_table(("Cohort", "Name", "Count", ""), rows, right=(0, 2))


def _cohort_marks(*, is_visible: bool, of_groups: bool) -> str:
    return ", ".join(mark for mark, holds in (("hidden", not is_visible), ("not users", of_groups)) if holds)


@app.command()
def export(
    cohort_id: Annotated[str, typer.Argument(metavar="COHORT_ID")],
    group: Annotated[str | None, typer.Option(metavar="NAME", help="Group name; else it follows the cohort's.")] = None,
    to: To = None,
    full: Annotated[bool, typer.Option("--full", help="Overwrite in full, whatever it holds.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and compare, write nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for a query slot as long as it takes.")] = False,
    as_json: Json = False,
) -> None:
    """Export a cohort once, here and now."""
    from core.leases import lease

    number = whole_number(cohort_id, "COHORT_ID")
    bridge = open_here()
    lease_owner = lease.new_lease_owner()
    run = one_time.start_export(
        bridge, LOCAL, number, group=group, to=to, full=full, dry_run=dry_run, trigger="cli", lease_owner=lease_owner
    )
    assert run.id is not None
    run = _do_here(bridge, run.id, lease_owner, patience_s=None if wait else PATIENCE_S, as_json=as_json)
    if as_json:
        print_json(run_as_json(run))
    elif run.status == RunStatus.SUCCEEDED:
        print_run(run)
    if run.status != RunStatus.SUCCEEDED:
        complain(run.error_message or f"The run ended as {run.status}.", run.error_advice or "")
        raise typer.Exit(FAILED)


def _do_here(bridge: Bridge, run_id: int, lease_owner: str, *, patience_s: float | None, as_json: bool) -> Run:
    from core.cli.progress import shown
    from core.worker import inline_run

    async def main() -> Run:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with shown() as watch:
            return await inline_run.carry_out_here(
                bridge,
                run_id,
                lease_owner=lease_owner,
                patience_s=patience_s,
                watch=watch,
                tell=say,
            )

    try:
        return asyncio.run(main())
    except (KeyboardInterrupt, asyncio.CancelledError):
        return runs.get_run(bridge, LOCAL, run_id)
    except CohortBridgeError:
        if as_json:
            print_json(run_as_json(runs.get_run(bridge, LOCAL, run_id)))
        raise


# --- matching ------------------------------------------------------------------------------------------------------


@app.command("match")
def show_match(
    cohort_id: Annotated[str, typer.Argument(metavar="COHORT_ID")],
    to: To = None,
    last: Annotated[bool, typer.Option("--last", help="As of the latest reading; asks Mixpanel nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for a query slot as long as it takes.")] = False,
    as_json: Json = False,
) -> None:
    """Read a cohort and tell how many of its users can be targeted, and why the others cannot; nothing is written."""
    from core.leases import lease

    number, bridge = whole_number(cohort_id, "COHORT_ID"), open_here()
    if last:
        found = match_funnel.list_reads(bridge, LOCAL, number, limit=1)
        if not found:
            raise NotFound(f"Cohort {number} was not read yet.", advice="Leave --last out to read it now.")
        run = found[0]
    else:
        lease_owner = lease.new_lease_owner()
        run = one_time.start_export(bridge, LOCAL, number, to=to, dry_run=True, trigger="cli", lease_owner=lease_owner)
        assert run.id is not None
        run = _do_here(bridge, run.id, lease_owner, patience_s=None if wait else PATIENCE_S, as_json=False)
        if run.status not in (RunStatus.SUCCEEDED, RunStatus.HELD):
            complain(run.error_message or f"The run ended as {run.status}.", run.error_advice or "")
            raise typer.Exit(FAILED)
    if as_json:
        print_json(funnel_as_json(run))
    else:
        print_funnel(run)
