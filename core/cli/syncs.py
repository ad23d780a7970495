"""Commands for syncs: add, edit, list, pause, resume, remove, run.

What changes a sync asks Mixpanel of its cohort, and is imported where it is done: the list is read far more often.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.cli.common import Json, MaxShrink, Mixpanel, Tags, To, open_here, whole_number
from core.cli.output import print_json, say
from core.cli.runs import show_queued
from core.cli.tables import print_syncs
from core.errors import SettingsError
from core.rules import schedules
from core.rules.pause_ends import parse_end
from core.rules.zones import find_zone
from core.syncs import listing
from core.syncs.as_json import sync_as_json
from data.models import Schedule, Sync

_USUAL_MINUTES = 15

Every = Annotated[
    int | None, typer.Option(metavar="MINUTES", help="15, 30, 60 or 1440; 15 where nothing else is asked for.")
]
At = Annotated[
    str | None,
    typer.Option(metavar="TIMES", help="Set times instead, such as “weekdays at 08:00 and 17:30 Europe/Berlin”."),
]
Cron = Annotated[
    str | None,
    typer.Option(metavar="EXPRESSION", help="Set times as cron writes them, five fields; several with “;” between."),
]
Zone = Annotated[str | None, typer.Option(metavar="NAME", help="The time zone of --cron or --at: Europe/Berlin, UTC.")]

syncs_app = typer.Typer(help="Recurring and one-time syncs.", no_args_is_help=True)


@syncs_app.command("add")
def add_sync(
    cohort_id: Annotated[str, typer.Argument(metavar="COHORT_ID")],
    every: Every = None,
    at: At = None,
    cron: Cron = None,
    zone: Zone = None,
    group: Annotated[str | None, typer.Option(metavar="NAME", help="Group name; else it follows the cohort's.")] = None,
    to: To = None,
    mixpanel: Mixpanel = None,
    max_shrink: MaxShrink = None,
    tag: Tags = None,
    as_json: Json = False,
) -> None:
    """Keep a group equal to a cohort, every 15 minutes or as asked for; the first run is due at once."""
    from core.syncs import recurring

    schedule = _read_schedule(every, at, cron, zone)
    bridge, number = open_here(), whole_number(cohort_id, "COHORT_ID")
    sync = recurring.add_sync(
        bridge,
        LOCAL,
        number,
        every_minutes=_USUAL_MINUTES if every is None else every,
        schedule=schedule,
        group=group,
        to=to,
        max_shrink=max_shrink,
        tags=tag or (),
        mixpanel=mixpanel,
    )
    _show_sync(bridge, sync, "is active: a worker keeps its group up to date", as_json=as_json)


@syncs_app.command("edit")
def edit_sync(
    sync_id: Annotated[int, typer.Argument(metavar="ID")],
    every: Every = None,
    at: At = None,
    cron: Cron = None,
    zone: Zone = None,
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
    schedule = _read_schedule(every, at, cron, zone)
    bridge = open_here()
    sync = listing.get_sync(bridge, LOCAL, sync_id).sync
    present = sync.timing
    if schedule is None and every is None:
        schedule = present if isinstance(present, Schedule) else None
    limit = sync.max_shrink if max_shrink is None else max_shrink
    sync = settings.edit_sync(
        bridge,
        LOCAL,
        sync_id,
        every_minutes=sync.every_minutes if every is None else every,
        schedule=schedule,
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
def pause_sync(
    sync_id: Annotated[int, typer.Argument(metavar="ID")],
    until: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="When a worker resumes it: “2026-11-30 08:00 Europe/Berlin”, “Monday 08:00”, or ISO 8601 with an "
            "offset. Without a zone it is the schedule's, else this machine's.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Stop a recurring sync until it is resumed, or until a time."""
    from core.syncs import recurring

    bridge = open_here()
    end = None if until is None else _read_end(bridge, sync_id, until)
    sync = recurring.pause_sync(bridge, LOCAL, sync_id, until=end)
    _show_sync(bridge, sync, f"is paused until {_end_text(sync, end)}" if end else "is paused", as_json=as_json)


def _read_end(bridge: Bridge, sync_id: int, text: str) -> datetime:
    sync = listing.get_sync(bridge, LOCAL, sync_id).sync
    return parse_end(text, now=bridge.clock.now(), zone=_zone_of(sync))


def _end_text(sync: Sync, end: datetime) -> str:
    """Format the end of a pause where the schedule is, or as this machine's clocks show it, with the zone."""
    zone = _zone_of(sync)
    at = end.astimezone(zone)
    return f"{at:%Y-%m-%d %H:%M} {zone or at.tzname()}"


def _zone_of(sync: Sync) -> ZoneInfo | None:
    return find_zone(sync.timing.zone) if isinstance(sync.timing, Schedule) else None


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


def _read_schedule(every: int | None, at: str | None, cron: str | None, zone: str | None) -> Schedule | None:
    """Return the set times that were asked for, None at an interval. Raises SettingsError."""
    if sum(option is not None for option in (every, at, cron)) > 1:
        raise SettingsError("Schedule: --every, --at and --cron exclude each other.", advice="Use one of them.")
    if cron is not None:
        return schedules.from_cron(cron, zone or "")
    if at is not None:
        return schedules.parse(at, zone=zone)
    if zone is not None:
        raise SettingsError("Time zone: --zone needs --at or --cron.", advice="Write the times as well.")
    return None


def _show_sync(bridge: Bridge, sync: Sync, state: str, *, as_json: bool) -> None:
    assert sync.id is not None
    if as_json:
        print_json(sync_as_json(listing.get_sync(bridge, LOCAL, sync.id)))
    else:
        say(f"Sync {sync.id} {state}.")
