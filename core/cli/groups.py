"""Commands for what was delivered: groups and their members."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from core.access.roles import LOCAL
from core.cli.as_json import overlap_as_json
from core.cli.common import Json, Mixpanel, To, open_here, whole_number
from core.cli.output import print_csv, print_json, print_note
from core.cli.tables import print_groups, print_overlap
from core.connections import lookup
from core.reports import group_state, overlap
from core.rules.id_words import id_words
from core.syncs import groups
from core.syncs.as_json import group_as_json
from core.threads import in_time

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
    mixpanel: Mixpanel = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", parser=Path, help="Write there: whole, or not at all.")
    ] = None,
) -> None:
    """Print the last delivered members as the CSV that Apptimize takes."""
    bridge = open_here()
    group = groups.find_group(bridge, LOCAL, whole_number(cohort_id, "COHORT_ID"), to=to, mixpanel=mixpanel)
    assert group.id is not None
    if note := id_words(group.base_match).note:
        print_note(f"{note} The file is not for Apptimize.")
    if out is not None:
        count = in_time(partial(groups.save_group_csv, bridge, LOCAL, group.id, out))
        print_note(f"{count:,} members written to {out}.")
        return
    print_csv(groups.group_csv(bridge, LOCAL, group.id))


@groups_app.command("overlap")
def compare(
    cohort_ids: Annotated[list[str], typer.Argument(metavar="COHORT_ID...")],
    to: To = None,
    mixpanel: Mixpanel = None,
    as_json: Json = False,
) -> None:
    """Count how many members each two of these cohorts' groups share."""
    bridge = open_here()
    numbers = [whole_number(text, "COHORT_ID") for text in cohort_ids]
    chosen = [groups.find_group(bridge, LOCAL, number, to=to, mixpanel=mixpanel) for number in numbers]
    compared = overlap.compare_groups(bridge, LOCAL, [group.id or 0 for group in chosen])
    if as_json:
        print_json(overlap_as_json(compared))
    else:
        print_overlap(compared)
