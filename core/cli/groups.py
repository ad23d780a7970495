"""Commands for what was delivered: groups, their members, one user."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from core.access.roles import LOCAL
from core.cli.as_json import group_as_json, user_as_json
from core.cli.common import FAILED, Json, To, open_here, whole_number
from core.cli.output import complain, print_csv, print_groups, print_json, print_note, print_user
from core.connections import lookup
from core.invisible import INVISIBLE
from core.reports import group_state, user_lookup
from core.syncs import groups
from core.threads import in_time

app = typer.Typer()
groups_app = typer.Typer(help="What was delivered.")


@groups_app.callback(invoke_without_command=True)
def list_groups(context: typer.Context, as_json: Json = False) -> None:
    """List the groups that were delivered."""
    if context.invoked_subcommand:
        return
    bridge = open_here()
    destinations = {connection.id: connection.name for connection in lookup.list_connections(bridge, LOCAL)}
    listed = groups.list_groups(bridge, LOCAL)
    if as_json:
        print_json([group_as_json(group, destinations.get(group.destination_id)) for group in listed])
    else:
        print_groups(listed, destinations, group_state.group_states(bridge, LOCAL))


@groups_app.command("members")
def save_members(
    cohort_id: Annotated[str, typer.Argument(metavar="COHORT_ID")],
    to: To = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", parser=Path, help="Write there: whole, or not at all.")
    ] = None,
) -> None:
    """Print the last delivered members as the CSV that Apptimize takes."""
    bridge = open_here()
    group = groups.find_group(bridge, LOCAL, whole_number(cohort_id, "COHORT_ID"), to=to)
    assert group.id is not None
    if out is not None:
        count = in_time(partial(groups.save_group_csv, bridge, LOCAL, group.id, out))
        print_note(f"{count:,} members written to {out}.")
        return
    print_csv(groups.group_csv(bridge, LOCAL, group.id))


@app.command("who")
def show_user(user_id: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Look up a user by distinct id or Apptimize id, in what was read and associated; Mixpanel is not asked."""
    user = user_lookup.look_up_user(open_here(), LOCAL, user_id, look_through=user_lookup.FAR_BACK)
    if as_json:
        print_json(user_as_json(user))
    else:
        print_user(user)
    if not user.is_known:
        advice = "Export, or read with `match`, a cohort that the user is in."
        if INVISIBLE.search(user_id):
            advice = "It holds a character that nobody sees: type it, or paste it as plain text."
        complain("No group and no read had this id.", advice)
        raise typer.Exit(FAILED)
