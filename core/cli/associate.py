"""The command that associates users."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from core.access.roles import LOCAL
from core.associate import actions
from core.bridge import Bridge
from core.cli.as_json import association_as_json
from core.cli.common import FAILED, Json, app, open_here
from core.cli.output import complain, print_association, print_json
from core.errors import SettingsError
from data.models import Association, ImportStage


@app.command("associate")
def associate(
    file: Annotated[
        Path | None, typer.Option(metavar="CSV", help="With the columns distinct_id and apptimize_id.")
    ] = None,
    resume: Annotated[int | None, typer.Option(metavar="ID", help="Go on with one that ended half way.")] = None,
    prefix: Annotated[
        str, typer.Option(help="For ids without one: i_, a_, or as-they-are. Else their rows are left out.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file, write nothing.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the outcome of every row there.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before writing.")] = False,
    as_json: Json = False,
) -> None:
    """Set the Apptimize ids of a file on Mixpanel profiles, here and now: checked first, an outcome for every row."""
    from core.leases import lease

    if (file is None) == (resume is None):
        raise SettingsError("--file or --resume: give one of them.")
    bridge, lease_owner = open_here(), lease.new_lease_owner()
    if resume is not None:
        from core.associate import running

        running.wait_until_free(bridge, resume)
        found = actions.resume_association(bridge, LOCAL, resume, lease_owner=lease_owner)
    else:
        assert file is not None
        found = _checked(bridge, file, prefix, lease_owner, as_json=as_json)
        if found.stage == ImportStage.CHECKED and not dry_run:
            if not as_json:
                print_association(found)
            if sys.stdin.isatty() and not yes and not as_json:
                typer.confirm(f"Write {found.writable:,} rows?", abort=True, err=True)
            assert found.id is not None
            found = actions.confirm_association(bridge, LOCAL, found.id, seen=found, lease_owner=lease_owner)
    if found.stage == ImportStage.TO_WRITE:
        found = _associate_here(bridge, found, lease_owner)
    assert found.id is not None
    if out is not None and found.rows:
        actions.save_outcomes(bridge, LOCAL, found.id, out)
    if as_json:
        print_json(association_as_json(found))
    else:
        print_association(found)
    if found.stage != (ImportStage.CHECKED if dry_run and resume is None else ImportStage.DONE) or not found.writable:
        complain(found.error_message or "Nothing was written.", found.error_advice or "")
        raise typer.Exit(FAILED)


def _checked(bridge: Bridge, file: Path, prefix: str, lease_owner: str, *, as_json: bool) -> Association:
    wanted = {"": None, "as-they-are": actions.AS_THEY_ARE}.get(prefix, prefix)
    try:
        with file.open("rb") as opened:
            found = actions.start_association(
                bridge, LOCAL, opened, source=file.name, lease_owner=lease_owner, prefix=wanted
            )
    except OSError as exc:
        raise SettingsError(f"--file: {file} cannot be read: {exc.strerror}.") from exc
    return _associate_here(bridge, found, lease_owner)


def _associate_here(bridge: Bridge, found: Association, lease_owner: str) -> Association:
    from core.associate import running
    from core.cli.progress import shown_rows

    number = found.id
    assert number is not None

    async def main() -> Association:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with shown_rows() as watch:
            return await running.carry_out_here(bridge, number, lease_owner=lease_owner, watch=watch)

    try:
        return asyncio.run(main())
    except (KeyboardInterrupt, asyncio.CancelledError):
        return actions.get_association(bridge, LOCAL, number)
