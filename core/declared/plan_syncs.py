"""What a file would change of recurring syncs, and whether Mixpanel's queries allow them all."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from core.connections.project import project_key
from core.connections.query_budget import budget_for
from core.declared.entries import ACTIVE, PAUSED, Entry, SyncEntry, SyncName, sentence
from core.declared.exporting import schedule_text
from core.declared.plan import Change, Planning, added, called, differences
from core.declared.present import PresentSync, SyncKey, budget_key
from core.errors import SettingsError
from core.rules import schedules
from core.rules.pause_ends import check_end
from core.syncs.checks import queries_an_hour
from core.vendors.mixpanel_project import REGIONS
from data.models import Connection, Group, SyncState, Timing

# What is done by removing the sync and starting it again: its group stays, and what its runs did is kept.
RESTARTED_FIELDS = ("mixpanel", "group_name")
TIMED_FIELDS = ("every_minutes", "schedule")
_DEFAULT = "default"


def plan_syncs(planning: Planning) -> dict[SyncKey, SyncEntry]:
    """Plan the changes of all syncs that the file names; returns them, by their groups, with both connections."""
    named = dict[SyncKey, SyncEntry]()
    for written in planning.document.syncs:
        entry = _as_of_now(planning, written)
        resolved = _resolved(planning, entry)
        if resolved is None:
            continue
        key, whole = resolved
        if key in named:
            line = planning.document.lines.find(named[key].path)
            planning.refuse(entry, "cohort_id", f"{entry.label} is there already, in line {line}.")
            continue
        named[key] = whole
        _plan_sync(planning, key, whole)
    _refuse_shared_names(planning, named)
    return named


def _as_of_now(planning: Planning, entry: SyncEntry) -> SyncEntry:
    """Return an entry without a pause that is over: a worker ended it, or whoever resumed the sync before."""
    now = planning.bridge.clock.now()
    if entry.paused_until is None:
        return entry
    if entry.paused_until <= now:
        return replace(entry, state=None, paused_until=None)
    try:
        check_end(entry.paused_until, now=now)
    except SettingsError as exc:
        planning.refuse(entry, "paused_until", sentence(exc))
    return entry


def _resolved(planning: Planning, entry: SyncEntry) -> tuple[SyncKey, SyncEntry] | None:
    name = SyncName(entry.cohort_id, entry.mixpanel, entry.destination)
    found = _find(planning, entry, ("mixpanel", "destination"), name)
    if found is None:
        return None
    key, mixpanel = found
    return key, replace(entry, mixpanel=mixpanel, destination=key.destination)


def find_key(planning: Planning, entry: Entry, field: str, name: SyncName) -> SyncKey | None:
    """Return which sync a field names, there or not; None where a connection of it is not there, which is noted."""
    found = _find(planning, entry, (field, field), name)
    return found and found[0]


def _find(planning: Planning, entry: Entry, fields: tuple[str, str], name: SyncName) -> tuple[SyncKey, str] | None:
    document, present = planning.document, planning.present
    projects = {name: row.project_id for name, row in present.mixpanel.items()}
    projects |= {each.name: each.project_id for each in document.mixpanel}
    destinations = present.destinations.keys() | {each.name for each in document.destinations}
    usual = _DEFAULT if _DEFAULT in projects else None
    mixpanel, why_not = _chosen(name.mixpanel, projects, "Mixpanel project", usual)
    if why_not:
        planning.refuse(entry, fields[0], why_not)
    destination, why_not = _chosen(name.destination, destinations, "destination", None)
    if why_not:
        planning.refuse(entry, fields[1], why_not)
    if not mixpanel or not destination:
        return None
    return SyncKey(destination, projects[mixpanel], name.cohort_id), mixpanel


def _chosen(asked: str | None, there: Collection[str], what: str, usual: str | None) -> tuple[str, str]:
    """Return the connection that is named, or the one that is meant where none is, or else why there is none."""
    if asked is not None:
        is_there = asked in there
        return (asked, "") if is_there else ("", f"there is no {what} {called(asked)}, in the file or in this home.")
    if len(there) == 1 or usual:
        return usual or next(iter(there)), ""
    choice = f"choose one of {', '.join(map(called, sorted(there)))}" if there else f"there is no {what} yet"
    return "", f"{choice}."


def _plan_sync(planning: Planning, key: SyncKey, entry: SyncEntry) -> None:
    present, group = planning.present.syncs.get(key), planning.present.groups.get(key)
    renamed = _renamed(planning, entry, group)
    values = _values(entry)
    if present is None:
        fields = added({**values, "state": entry.state or ACTIVE, "paused_until": entry.paused_until})
        planning.plan.changes.append(Change("add", entry.kind, entry.label, fields, entry=entry, present=group))
        return
    before = _values_of(present)
    fields = differences({name: (before[name], values[name]) for name in before}) | renamed
    if entry.state and (state := _state(present)) != entry.state:
        fields["state"] = (state, entry.state)
    until = present.sync.paused_until
    if entry.state == PAUSED and until != entry.paused_until:
        fields["paused_until"] = (until, entry.paused_until)
    if fields:
        planning.plan.changes.append(
            Change("change", entry.kind, entry.label, fields, _notes(present, fields), entry=entry, present=present)
        )


def _values(entry: SyncEntry) -> dict[str, Any]:
    names = ("mixpanel", "group_name", "every_minutes", "max_shrink", "tags", "match_property", "expects_prefix")
    schedule = schedules.text_of(entry.schedule) if entry.schedule else None
    return {"schedule": schedule, **{name: getattr(entry, name) for name in names}}


def _values_of(present: PresentSync) -> dict[str, Any]:
    sync = present.sync
    return {
        "mixpanel": present.mixpanel.name,
        "every_minutes": sync.every_minutes,
        "schedule": schedule_text(sync),
        "max_shrink": sync.max_shrink,
        "tags": tuple(sync.tags),
        "match_property": sync.match_property,
        "expects_prefix": sync.expects_prefix,
    }


def _state(present: PresentSync) -> str:
    return ACTIVE if present.sync.state == SyncState.ACTIVE else PAUSED


def _renamed(planning: Planning, entry: SyncEntry, group: Group | None) -> dict[str, tuple[Any, Any]]:
    """Return the difference between a group's own name and the file's; of one that is there it is a mistake."""
    own = group.own_name or None if group else None
    if group is None or entry.group_name == own or (own is None and entry.group_name == group.cohort_name):
        return {}
    if group.may_exist:
        keeps = f'write group_name = "{called(own)}" here' if own else "leave group_name out"
        planning.refuse(
            entry, "group_name", f"the group is there as {called(group.name)}, and a group keeps its name: {keeps}."
        )
        return {}
    return {"group_name": (own, entry.group_name)}


def _notes(present: PresentSync, fields: dict[str, Any]) -> tuple[str, ...]:
    notes = list[str]()
    if fields.get("state", ("", ""))[1] == ACTIVE and present.sync.paused_reason:
        notes.append(f"It is paused: {called(present.sync.paused_reason)}")
    if any(name in fields for name in RESTARTED_FIELDS):
        notes.append("It is removed and started again; its group and what its runs did stay.")
    if "match_property" in fields:
        notes.append("Its group is written in full next.")
    return tuple(notes)


def _refuse_shared_names(planning: Planning, named: dict[SyncKey, SyncEntry]) -> None:
    """Refuse two groups of one name at a destination, as far as the file names them."""
    first = dict[tuple[str, str], SyncEntry]()
    for key, entry in named.items():
        if not entry.group_name:
            continue
        other = first.setdefault((key.destination, entry.group_name), entry)
        if other is not entry:
            line = planning.document.lines.find(other.path)
            planning.refuse(entry, "group_name", f"the group of {other.label}, in line {line}, has this name.")


# --- the budget ----------------------------------------------------------------------------------------------------


def check_room(planning: Planning, named: dict[SyncKey, SyncEntry], removed: Collection[SyncKey]) -> None:
    """Refuse what Mixpanel's queries an hour do not allow, for all syncs of each project together."""
    asking = [change for change in planning.plan.changes if change.kind == SyncEntry.kind and _asks_more(change)]
    by_project = dict[int, list[Change]]()
    for key, entry in named.items():
        by_project.setdefault(key.project_id, []).extend(change for change in asking if change.entry is entry)
    for project_id, changes in by_project.items():
        if changes:
            _check_project(planning, project_id, changes, _list_timings(planning, project_id, named, removed))


def _asks_more(change: Change) -> bool:
    return change.action == "add" or any(name in change.fields for name in (*TIMED_FIELDS, "state"))


def _list_timings(
    planning: Planning, project_id: int, named: dict[SyncKey, SyncEntry], removed: Collection[SyncKey]
) -> list[Timing]:
    present = planning.present.syncs
    after = {key: (_state(each), each.sync.timing) for key, each in present.items() if key not in removed}
    after |= {
        key: (entry.state or (_state(present[key]) if key in present else ACTIVE), entry.timing)
        for key, entry in named.items()
    }
    of_project = [each for key, each in after.items() if key.project_id == project_id]
    return [timing for state, timing in of_project if state == ACTIVE and timing]


def _check_project(planning: Planning, project_id: int, changes: list[Change], timings: list[Timing]) -> None:
    entry = changes[0].entry
    assert isinstance(entry, SyncEntry)
    limit = budget_for(planning.bridge, _budget_key(planning, entry.mixpanel or "", project_id)).status().limit
    needed = queries_an_hour(timings, now=planning.bridge.clock.now())
    if needed <= limit:
        return
    message = (
        f"Mixpanel allows project {project_id} {limit:,} queries an hour, and its {len(timings):,} active syncs "
        f"would need {needed:,.0f}: choose longer intervals or other times, or pause some."
    )
    planning.refuse(entry, "schedule" if entry.schedule else "every_minutes", message)


def _budget_key(planning: Planning, name: str, project_id: int) -> str:
    present: Connection | None = planning.present.mixpanel.get(name)
    if present and present.project_id == project_id:
        return project_key(present)
    regions = {each.name: each.region for each in planning.document.mixpanel}
    base_url = planning.bridge.settings.mixpanel_url or REGIONS[regions.get(name, "us")]
    return budget_key(base_url.rstrip("/"), project_id)
