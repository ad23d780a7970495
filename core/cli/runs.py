"""Commands that list, show and decide about runs."""

from __future__ import annotations

from typing import Annotated

import typer

from core.access.roles import LOCAL
from core.cli.as_json import run_as_json
from core.cli.common import Json, app, open_here, run_app
from core.cli.output import print_json, print_run, print_table, time_text
from core.syncs import held_runs, runs, undo
from data.models import Run, RunFilter, RunStatus


@app.command("runs")
def list_runs(
    sync: Annotated[int | None, typer.Option(metavar="ID", help="Only runs of this sync.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 20,
    as_json: Json = False,
) -> None:
    """List runs, newest first."""
    found = runs.list_runs(open_here(), LOCAL, RunFilter(sync_id=sync), limit=limit)
    if as_json:
        print_json([run_as_json(run) for run in found])
        return
    rows = [
        (
            str(run.id),
            f"{run.status}{' (dry run)' if run.dry_run else ''}",
            run.group_name,
            f"{run.members:,}",
            run.destination,
            time_text(run.started_at),
        )
        for run in found
    ]
    print_table(("Run", "Status", "Group", "Members", "Destination", "Started"), rows, right=(0, 3))


@run_app.command("show")
def show_run(run_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Show a run."""
    run = runs.get_run(open_here(), LOCAL, run_id)
    print_json(run_as_json(run)) if as_json else print_run(run)


@run_app.command("apply")
def apply_run(run_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Let a held run through once: it reads again, and writes whatever it finds."""
    show_queued(held_runs.apply_held(open_here(), LOCAL, run_id), as_json=as_json)


@run_app.command("discard")
def discard_run(run_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Drop a held run; the group stays as it is."""
    run = held_runs.discard_held(open_here(), LOCAL, run_id)
    print_json(run_as_json(run)) if as_json else typer.echo(f"Run {run.id} was discarded.")


@run_app.command("undo")
def undo_run(run_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Put the group back to its members as of this run; its recurring sync is paused."""
    show_queued(undo.undo_to(open_here(), LOCAL, run_id), as_json=as_json)


def show_queued(run: Run, *, as_json: bool) -> None:
    print_json(run_as_json(run)) if as_json else typer.echo(f"Run {run.id} is queued: a worker does it.")


@run_app.command("cancel")
def cancel_run(run_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Stop a run that is queued, waiting or running."""
    run = runs.cancel_run(open_here(), LOCAL, run_id)
    if as_json:
        print_json(run_as_json(run))
    else:
        typer.echo(
            f"Run {run.id}: {run.status}." if run.status == RunStatus.CANCELLED else f"Run {run.id} is stopping."
        )
