"""Commands that look into groups, and into one user."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from core.access.roles import LOCAL
from core.cli.as_json import group_as_json, who_as_json
from core.cli.common import FAILED, Json, To, app, groups_app, open_here, whole_number
from core.cli.output import complain, print_json, print_table, print_who, time_text
from core.connections import lookup
from core.reports import user_lookup
from core.syncs import groups


@groups_app.callback(invoke_without_command=True)
def list_groups(context: typer.Context, as_json: Json = False) -> None:
    """List the groups that were delivered."""
    if context.invoked_subcommand:
        return
    bridge = open_here()
    names = {one.id: one.name for one in lookup.list_connections(bridge, LOCAL)}
    found = groups.list_groups(bridge, LOCAL)
    if as_json:
        print_json([group_as_json(group, names.get(group.destination_id)) for group in found])
        return
    rows = [
        (
            str(group.cohort_id),
            group.name,
            f"{group.members:,}",
            names.get(group.destination_id, "(removed)"),
            time_text(group.delivered_at),
        )
        for group in found
    ]
    print_table(("Cohort", "Group", "Members", "Destination", "Delivered"), rows, right=(0, 2))


@groups_app.command("members")
def save_members(
    cohort_id: Annotated[str, typer.Argument(metavar="COHORT_ID")],
    to: To = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write there: whole, or not at all.")] = None,
) -> None:
    """Print the last delivered members as the CSV that Apptimize takes."""
    bridge = open_here()
    group = groups.find_group(bridge, LOCAL, whole_number(cohort_id, "COHORT_ID"), to=to)
    assert group.id is not None
    if out is not None:
        count = groups.save_group_csv(bridge, LOCAL, group.id, out)
        typer.echo(f"{count:,} members written to {out}.", err=True)
        return
    for line in groups.group_csv(bridge, LOCAL, group.id):
        sys.stdout.write(line)


@app.command("who")
def show_who(wanted: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Look up a user by distinct id or Apptimize id, in what was read and associated; Mixpanel is asked nothing."""
    found = user_lookup.look_up_user(open_here(), LOCAL, wanted, look_through=user_lookup.FAR_BACK)
    if as_json:
        print_json(who_as_json(found))
    else:
        print_who(found)
    if not found.is_known:
        complain("No group and no reading had this id.", "Export, or read with `match`, a cohort that the user is in.")
        raise typer.Exit(FAILED)
