"""Groups: what was delivered, and its `user_id` CSV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from core.access.roles import Actor, Role, action
from core.bridge import Bridge, storage_errors_of
from core.connections.lookup import find_destination, find_project, require_one_project
from core.errors import NotFound, SettingsError, StorageFailed
from core.rules.id_words import id_words
from core.vendors import csv_files
from data import groups, proofs
from data.models import Group


@action(Role.VIEWER)
def list_groups(bridge: Bridge, actor: Actor) -> list[Group]:
    """List the groups that were delivered, by id."""
    return groups.list_groups(bridge.engine)


@action(Role.VIEWER)
def list_delivered(bridge: Bridge, actor: Actor, *, after: int, limit: int) -> list[tuple[Group, str]]:
    """List so many of the groups after an id that were delivered, each with the name of its destination, by id."""
    return groups.list_delivered(bridge.engine, after=after, limit=limit)


@action(Role.VIEWER)
def list_of_cohort(bridge: Bridge, actor: Actor, cohort_id: int, *, project_id: int) -> list[Group]:
    """List the groups that a cohort of a project has, those too that were never delivered."""
    return groups.list_of_cohort(bridge.engine, project_id, cohort_id)


@action(Role.VIEWER)
def find_group(
    bridge: Bridge, actor: Actor, cohort_id: int, *, to: str | None = None, mixpanel: str | None = None
) -> Group:
    """Find a cohort's delivered group; destination and Mixpanel connection may be omitted while no other has one.

    Raises: NotFound, NotConnected, SettingsError.
    """
    destination = find_destination(bridge, to) if to else None
    project_id = find_project(bridge, mixpanel) if mixpanel else None
    delivered = [
        group
        for group in groups.list_groups(bridge.engine)
        if group.cohort_id == cohort_id
        and (destination is None or group.destination_id == destination.id)
        and project_id in (None, group.project_id)
    ]
    if not delivered:
        raise NotFound(f"Cohort {cohort_id} has no group yet.", advice="Export it first.")
    require_one_project(bridge, {group.project_id for group in delivered}, cohort_id)
    if len(delivered) > 1:
        raise SettingsError("Destination: the cohort has groups at several.", advice="Choose one with --to NAME.")
    return delivered[0]


@action(Role.VIEWER)
def group_csv(bridge: Bridge, actor: Actor, group_id: int) -> Iterator[str]:
    """Yield the lines of the group's `user_id` CSV, ids byte for byte. Raises NotFound, StorageFailed.

    That of a group which does not hold Apptimize ids has the column `member_id`: it is not for Apptimize.
    """
    name = get_base(bridge, group_id)
    ids = (member.apptimize_id for chunk in bridge.snapshots.iterate(name) for member in chunk)
    return csv_files.csv_lines(storage_errors_of(ids), _csv_header(bridge, group_id))


@action(Role.VIEWER)
def save_group_csv(bridge: Bridge, actor: Actor, group_id: int, target: Path) -> int:
    """Save the group's `user_id` CSV to a file, whole or not at all, and return how many members it has.

    Raises: NotFound, StorageFailed.
    """
    name = get_base(bridge, group_id)
    ids = (member.apptimize_id for chunk in bridge.snapshots.iterate(name) for member in chunk)
    header = _csv_header(bridge, group_id)
    return csv_files.save_csv(ids, target, expected=bridge.snapshots.count(name), header=header)


def _csv_header(bridge: Bridge, group_id: int) -> str:
    group = groups.get_group(bridge.engine, group_id)
    words = id_words(group.base_match if group else "")
    return csv_files.USER_ID if words.is_apptimize else words.column


def get_base(bridge: Bridge, group_id: int) -> str:
    """Return the name of the snapshot with the members that were last delivered, which proved to be that.

    Raises: NotFound before the first delivery, StorageFailed when the snapshot is gone or damaged.
    """
    group = groups.get_group(bridge.engine, group_id)
    if group is None or group.base_snapshot is None:
        raise NotFound("This group was not delivered yet.", advice="Export its cohort first.")
    if not proofs.is_proven(bridge.engine, bridge.snapshots, group.base_snapshot, members=group.members):
        is_there = bridge.snapshots.stamp(group.base_snapshot) or bridge.snapshots.was_set_aside(group.base_snapshot)
        raise StorageFailed(
            "The file of the group's members is damaged." if is_there else "The members are no longer kept.",
            advice="Export the cohort again: that keeps them.",
        )
    return group.base_snapshot
