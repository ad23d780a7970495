"""Commands for runs: list, show, stop, apply, discard, undo."""

from __future__ import annotations

from typing import Annotated

import typer

from core.access.roles import LOCAL
from core.cli.common import Json, open_here
from core.cli.output import print_json, say
from core.cli.tables import print_run, print_runs
from core.syncs import held_runs, runs, undo
from core.syncs.as_json import run_as_json
from data.models import Run, RunFilter, RunStatus

app = typer.Typer()
run_app = typer.Typer(help="One run: show it, decide about it, or stop it.", no_args_is_help=True)


@app.command("runs")
def list_runs(
    sync: Annotated[int | None, typer.Option(metavar="ID", help="Only runs of this sync.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The most runs to list.")] = 20,
    as_json: Json = False,
) -> None:
    """List runs, newest first."""
    listed = runs.list_runs(open_here(), LOCAL, RunFilter(sync_id=sync), limit=limit)
    if as_json:
        print_json([run_as_json(run) for run in listed])
    else:
        print_runs(listed)


@run_app.command("show")
def show_run(run_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Show a run."""
    bridge = open_here()
    run = runs.get_run(bridge, LOCAL, run_id)
    print_json(run_as_json(run)) if as_json else print_run(run, held_runs.find_applied(bridge, LOCAL, run))


@run_app.command("apply")
def apply_run(
    run_id: Annotated[int, typer.Argument(metavar="ID")],
    note: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            help="Why it is let through: kept with the run, and in the audit log for good: name no users.",
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Apply a held run once: it reads again, and writes what goes no further than this run, or is held again."""
    show_queued(held_runs.apply_held(open_here(), LOCAL, run_id, note=note), as_json=as_json)


@run_app.command("discard")
def discard_run(run_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Discard a held run; the group stays as it is."""
    run = held_runs.discard_held(open_here(), LOCAL, run_id)
    print_json(run_as_json(run)) if as_json else say(f"Run {run.id} was discarded.")


@run_app.command("undo")
def undo_run(run_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Roll the group back to its members as of this run; its recurring sync is paused."""
    show_queued(undo.undo_to(open_here(), LOCAL, run_id), as_json=as_json)


@run_app.command("cancel")
def cancel_run(run_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Stop a run that is queued, waiting or running."""
    run = runs.cancel_run(open_here(), LOCAL, run_id)
    if as_json:
        print_json(run_as_json(run))
    else:
        say(f"Run {run.id}: {run.status}." if run.status == RunStatus.CANCELLED else f"Run {run.id} is stopping.")


def show_queued(run: Run, *, as_json: bool) -> None:
    print_json(run_as_json(run)) if as_json else say(f"Run {run.id} is queued for a worker.")
