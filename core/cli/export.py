"""The command that exports a cohort once."""

from __future__ import annotations

from typing import Annotated

import typer

from core.access.roles import LOCAL
from core.cli.common import CohortId, Json, Mixpanel, To, Wait, open_here, patience, whole_number
from core.cli.output import print_json
from core.cli.run_here import fail, run_here
from core.cli.tables import print_run
from core.syncs import one_time, runs
from core.syncs.as_json import run_as_json
from data.models import Run, RunStatus

app = typer.Typer()


@app.command()
def export(
    cohort_id: CohortId,
    group: Annotated[str | None, typer.Option(metavar="NAME", help="Group name; else it follows the cohort's.")] = None,
    to: To = None,
    mixpanel: Mixpanel = None,
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
                mixpanel=mixpanel,
                full=full,
                dry_run=dry_run,
                trigger="cli",
                lease_owner=lease_owner,
            )
        )
        return queued[0]

    try:
        run = run_here(bridge, queue, patience_s=patience(wait))
    except Exception:
        if as_json and queued:
            print_json(run_as_json(runs.get_run(bridge, LOCAL, queued[0].id or 0)))
        raise
    if as_json:
        print_json(run_as_json(run))
    elif run.status == RunStatus.SUCCEEDED:
        print_run(run)
    if run.status != RunStatus.SUCCEEDED:
        fail(run)
