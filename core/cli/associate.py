"""The command that associates users."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from core.access.roles import LOCAL
from core.associate import actions, running
from core.associate.retrying import RETRYING, retry_text
from core.associate.rows import ACCEPTABLE, PROBLEMS, Problem
from core.bridge import Bridge
from core.cli.common import FAILED, Json, cancel_when_ended, ending_in_order, open_here
from core.cli.output import complain, print_json, say
from core.cli.progress import Move, bar
from core.errors import SettingsError
from core.files import open_file
from core.leases import lease
from core.syncs.as_json import columns_as_json, error_as_json
from core.text import harmless
from core.threads import in_time
from data.models import Association, ImportStage

app = typer.Typer()

# fmt: off
_COLUMNS = (
    "id", "source", "stage", "actor", "created_at", "finished_at", "match_property", "aliases", "prefix", "rows",
    "writable", "problems", "effects", "warnings", "written", "refused", "looked_up", "found", "requests",
)
# fmt: on


@app.command("associate")
def associate(
    file: Annotated[
        Path | None, typer.Option(metavar="CSV", parser=Path, help="With the columns distinct_id and apptimize_id.")
    ] = None,
    resume: Annotated[int | None, typer.Option(metavar="ID", help="Resume one that was interrupted.")] = None,
    prefix: Annotated[
        str, typer.Option(help="For ids without one: i_, a_, or as-they-are. Without it their rows are not written.")
    ] = "",
    accept: Annotated[
        list[str] | None,
        typer.Option(metavar="PROBLEM", help="Write rows with this problem all the same, such as date; repeatable."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file, write nothing.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", parser=Path, help="Write the outcome of every row there.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before writing.")] = False,
    as_json: Json = False,
) -> None:
    """Set the Apptimize ids of a file on Mixpanel profiles, here and now: checked first, an outcome for every row."""
    if (file is None) == (resume is None):
        raise SettingsError("--file or --resume: give one of them.")
    bridge, lease_owner = open_here(), lease.new_lease_owner()
    with ending_in_order(), running.no_association_left(bridge, lease_owner):
        if file is None:
            assert resume is not None
            association = _resume(bridge, resume, lease_owner)
        else:
            association = _check(bridge, file, prefix, accept or [], lease_owner)
            if association.stage == ImportStage.CHECKED and not dry_run:
                if not as_json:
                    _ask(association, needs_answer=not yes)
                association = _confirm(bridge, association, lease_owner)
        if association.stage == ImportStage.TO_WRITE:
            association = _carry_out(bridge, association, lease_owner)
    if out is not None and association.rows:
        assert association.id is not None
        in_time(partial(actions.save_outcomes, bridge, LOCAL, association.id, out))
    print_json(association_as_json(association)) if as_json else print_association(association)
    _require_written(association, stage=ImportStage.CHECKED if dry_run and file is not None else ImportStage.DONE)


def _resume(bridge: Bridge, number: int, lease_owner: str) -> Association:
    running.wait_until_free(bridge, number)
    return actions.resume_association(bridge, LOCAL, number, lease_owner=lease_owner)


def _check(bridge: Bridge, file: Path, prefix: str, accept: list[str], lease_owner: str) -> Association:
    chosen = {"": None, "as-they-are": actions.AS_THEY_ARE}.get(prefix, prefix)
    try:
        with in_time(partial(open_file, file)) as opened:
            association = actions.start_association(
                bridge,
                LOCAL,
                opened,
                source=harmless(file.name),
                prefix=chosen,
                accepted=accept,
                lease_owner=lease_owner,
            )
    except OSError as exc:
        raise SettingsError(f"--file: {file} cannot be read: {exc.strerror}.") from exc
    return _carry_out(bridge, association, lease_owner)


def _ask(association: Association, *, needs_answer: bool) -> None:
    print_association(association)
    if needs_answer and sys.stdin.isatty():
        typer.confirm(f"Write {association.writable:,} rows?", abort=True, err=True)


def _confirm(bridge: Bridge, association: Association, lease_owner: str) -> Association:
    assert association.id is not None
    return actions.confirm_association(bridge, LOCAL, association.id, seen=association, lease_owner=lease_owner)


def _carry_out(bridge: Bridge, association: Association, lease_owner: str) -> Association:
    """Check or write in this process; Ctrl-C and SIGTERM end it in good order."""
    number = association.id
    assert number is not None

    async def main() -> Association:
        task = asyncio.current_task()
        assert task is not None
        cancel_when_ended(task)
        with _row_progress() as watch:
            return await running.carry_out_here(bridge, number, lease_owner=lease_owner, watch=watch)

    try:
        return asyncio.run(main())
    except (KeyboardInterrupt, asyncio.CancelledError):
        return actions.get_association(bridge, LOCAL, number)


@contextmanager
def _row_progress() -> Generator[Callable[[Association], None] | None]:
    """Show a bar for the rows of an association while inside; yield the function that moves it, or None likewise."""
    with bar("Checking") as move:
        yield None if move is None else lambda association: _show_rows(move, association)


def _show_rows(move: Move, association: Association) -> None:
    stage = association.stage
    if retry := retry_text(association):
        stage = f"{stage}, {retry}"
    move(stage, association.written + association.refused, association.writable or None, "rows")


def _require_written(association: Association, *, stage: ImportStage) -> None:
    """Exit with the reason unless the association got as far as was asked, with a row to write."""
    if association.stage != stage or not association.writable:
        complain(association.error_message or "Nothing was written.", association.error_advice or "")
        raise typer.Exit(FAILED)


def association_as_json(association: Association) -> dict[str, Any]:
    columns, error = columns_as_json(association, _COLUMNS), error_as_json(association)
    columns |= {"accepted": association.accepted_problems, "error": error}
    # Nothing has failed yet: what is being tried again is named only for as long as it is.
    return columns | {"error": None, "retry": error} if association.error_code == RETRYING else columns


def print_association(association: Association) -> None:
    rows, writable = association.rows, association.writable
    say(f"Association {association.id}: {association.stage}. {rows:,} rows, {writable:,} to write.")
    for problem, number in association.problems.items():
        way_out = f" To write them all the same: --accept {problem}" if problem in ACCEPTABLE else ""
        if problem == Problem.UNPREFIXED:
            way_out = " To write them: --prefix i_, a_ or as-they-are"
        count = "1 row is" if number == 1 else f"{number:,} rows are"
        say(f"{count} not written: {PROBLEMS.get(problem, problem)}{way_out}")
    for problem, number in association.warnings.items():
        count = "1 row has" if number == 1 else f"{number:,} rows have"
        say(f"Of those to write, {count} a warning: {PROBLEMS.get(problem, problem)}")
    if association.written or association.refused:
        say(f"{association.written:,} rows written, {association.refused:,} refused by Mixpanel.")
    if association.looked_up and not association.found:
        say(
            f"Of {association.looked_up:,} rows that were looked up afterwards none has its new id yet: look again in "
            "some minutes; if it stays so, the project token may be another project's."
        )
