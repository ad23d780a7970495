"""Commands for syncs: add, edit, list, pause, resume, remove, run.

What changes a sync asks Mixpanel of its cohort, and is imported where it is done: the list is read far more often.
"""

from __future__ import annotations

from typing import Annotated

import typer

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.cli.common import Json, MaxShrink, Tags, To, open_here, whole_number
from core.cli.output import print_json, say
from core.cli.runs import show_queued
from core.cli.tables import print_syncs
from core.errors import SettingsError
from core.syncs import listing
from core.syncs.as_json import sync_as_json
from data.models import Sync

syncs_app = typer.Typer(help="Recurring and one-time syncs.", no_args_is_help=True)


@syncs_app.command("add")
def add_sync(
    cohort_id: Annotated[str, typer.Argument(metavar="COHORT_ID")],
    every: Annotated[int, typer.Option(metavar="MINUTES", help="15, 30, 60 or 1440.")] = 15,
    group: Annotated[str | None, typer.Option(metavar="NAME", help="Group name; else it follows the cohort's.")] = None,
    to: To = None,
    max_shrink: MaxShrink = None,
    tag: Tags = None,
    as_json: Json = False,
) -> None:
    """Keep a group equal to a cohort; the first run is due at once."""
    from core.syncs import recurring

    bridge, number = open_here(), whole_number(cohort_id, "COHORT_ID")
    sync = recurring.add_sync(
        bridge, LOCAL, number, every_minutes=every, group=group, to=to, max_shrink=max_shrink, tags=tag or ()
    )
    _show_sync(bridge, sync, "is active: a worker keeps its group up to date", as_json=as_json)


@syncs_app.command("edit")
def edit_sync(
    sync_id: Annotated[int, typer.Argument(metavar="ID")],
    every: Annotated[int | None, typer.Option(metavar="MINUTES", help="15, 30, 60 or 1440.")] = None,
    max_shrink: MaxShrink = None,
    no_max_shrink: Annotated[
        bool, typer.Option("--no-max-shrink", help="Hold no run for the share of members that it would remove.")
    ] = False,
    earlier_no_max_shrink: Annotated[bool, typer.Option("--no-brake", hidden=True)] = False,  # the earlier name
    tag: Tags = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="Remove all tags.")] = False,
    as_json: Json = False,
) -> None:
    """Change a recurring sync; what is not named stays as it is."""
    from core.syncs import settings

    is_unlimited = no_max_shrink or earlier_no_max_shrink
    if is_unlimited and max_shrink is not None:
        raise SettingsError("Shrink limit: --max-shrink and --no-max-shrink exclude each other.", advice="Omit one.")
    if no_tags and tag:
        raise SettingsError("Tags: --tag and --no-tags exclude each other.", advice="Omit one.")
    bridge = open_here()
    sync = listing.get_sync(bridge, LOCAL, sync_id).sync
    limit = sync.max_shrink if max_shrink is None else max_shrink
    sync = settings.edit_sync(
        bridge,
        LOCAL,
        sync_id,
        every_minutes=every or sync.every_minutes or 0,
        max_shrink=None if is_unlimited else limit,
        tags=[] if no_tags else tag,
    )
    _show_sync(bridge, sync, "is changed", as_json=as_json)


@syncs_app.command("list")
def list_syncs(
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="NAME", help="Only those with this tag.")] = None,
    as_json: Json = False,
) -> None:
    """List the syncs."""
    listed = [view for view in listing.list_syncs(open_here(), LOCAL) if set(tag or ()) <= set(view.sync.tags)]
    if as_json:
        print_json([sync_as_json(view) for view in listed])
    else:
        print_syncs(listed)


@syncs_app.command("pause")
def pause_sync(sync_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Stop a recurring sync until it is resumed."""
    from core.syncs import recurring

    bridge = open_here()
    _show_sync(bridge, recurring.pause_sync(bridge, LOCAL, sync_id), "is paused", as_json=as_json)


@syncs_app.command("resume")
def resume_sync(sync_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Resume a paused sync; it is due at once."""
    from core.syncs import recurring

    bridge = open_here()
    _show_sync(bridge, recurring.resume_sync(bridge, LOCAL, sync_id), "is active", as_json=as_json)


@syncs_app.command("remove")
def remove_sync(sync_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """End a sync; its group stays as it is."""
    from core.syncs import recurring

    bridge = open_here()
    _show_sync(bridge, recurring.remove_sync(bridge, LOCAL, sync_id), "is removed", as_json=as_json)


@syncs_app.command("run")
def run_sync(sync_id: Annotated[int, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Queue a run now, or return the one that is queued already; a worker does it."""
    from core.syncs import recurring

    show_queued(recurring.run_now(open_here(), LOCAL, sync_id), as_json=as_json)


def _show_sync(bridge: Bridge, sync: Sync, state: str, *, as_json: bool) -> None:
    assert sync.id is not None
    if as_json:
        print_json(sync_as_json(listing.get_sync(bridge, LOCAL, sync.id)))
    else:
        say(f"Sync {sync.id} {state}.")
