"""Which group a cohort has at a destination: one, and no other cohort's."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from functools import partial

from core.connections.project import match_rule
from core.errors import GroupTaken, NotConnected, SettingsError
from core.export.job import receiver_shared
from core.export.names import group_taken
from core.text import shown
from core.validation import clean_line
from core.vendors.mixpanel_answers import Cohort
from data.connections import ConnectionGone
from data.groups import NameTaken
from data.models import Connection, Group, Sync
from data.receivers import SharedReceiver
from data.syncs import ArrangeGroup, Placed, SyncExists, SyncPlace

NAME_LENGTH = 200


def arrange_group(place: SyncPlace, known: Cohort | None, asked: str | None, now: datetime) -> ArrangeGroup:
    """Build what finds or makes the cohort's group under the name asked for. It raises GroupTaken, SettingsError."""
    return partial(_arrange, place, known, asked, now)


def arrange_preview(place: SyncPlace, known: Cohort | None, asked: str | None, now: datetime) -> ArrangeGroup:
    """Build what finds the cohort's group for a preview, which leaves its names as they are.

    It raises as that of `arrange_group` does.
    """
    return partial(_place, place, known, asked, now)


def _arrange(place: SyncPlace, known: Cohort | None, asked: str | None, now: datetime, present: Group | None) -> Placed:
    placed = _place(place, known, asked, now, present)
    placed.group.cohort_name, placed.group.name = placed.names
    placed.group.own_name = placed.own_name
    return placed


def _place(place: SyncPlace, known: Cohort | None, asked: str | None, now: datetime, present: Group | None) -> Placed:
    """Return the group, and what an export would call it. Raises GroupTaken, SettingsError."""
    group = present or _new_group(place, known, now)
    cohort_name = known.name if known else group.cohort_name
    own_name = checked_group_name(asked) if asked is not None else group.own_name
    if own_name == cohort_name:
        own_name = None
    if group.may_exist and own_name != group.own_name:
        name = shown(group.name, most=100)
        raise GroupTaken(
            f"Cohort {place.cohort_id} already has the group {name} at {place.destination.name}.",
            advice="A cohort has one group at a destination: leave the name as it is, or choose another destination.",
        )
    return Placed(group, cohort_name, own_name)


def checked_group_name(name: str) -> str:
    """Return a group's own name. Raises SettingsError."""
    return clean_line(name, "Group name", most=NAME_LENGTH)


def _new_group(place: SyncPlace, known: Cohort | None, now: datetime) -> Group:
    assert place.destination.id is not None
    cohort_name = known.name if known else f"Cohort {place.cohort_id}"
    return Group(
        destination_id=place.destination.id,
        project_id=place.mixpanel.project_id,
        cohort_id=place.cohort_id,
        cohort_name=cohort_name,
        name=cohort_name,
        created_at=now,
    )


def require_same_matching(
    destination: Connection, sync: Sync, connection: Connection, other: Sync, others_connection: Connection
) -> None:
    """Refuse a sync that would match the users of a group in another way than the recurring one that keeps it.

    Raises: GroupTaken.
    """
    if str(match_rule(others_connection, other, destination)) != str(match_rule(connection, sync, destination)):
        raise GroupTaken(
            f"A recurring sync keeps this group through the connection {others_connection.name}, which matches users "
            f"in another way than {connection.name}.",
            advice="Give both connections the same match property and ID merge mode, or use another destination.",
        )


@contextmanager
def placing_errors() -> Generator[None]:
    """Turn a group that another cohort, sync or destination has into GroupTaken, SettingsError or ReceiverShared, and
    a connection that was removed meanwhile into NotConnected.
    """
    try:
        yield
    except ConnectionGone as exc:
        name = shown(exc.name, most=100)
        raise NotConnected(f"The connection {name} was removed meanwhile, or leads to another project now.") from None
    except NameTaken as exc:
        raise group_taken(exc) from None
    except SharedReceiver as exc:
        raise receiver_shared(exc) from None
    except SyncExists as exc:
        raise SettingsError(
            f"Cohort: a recurring sync keeps the group {shown(exc.group_name, most=100)} up to date already.",
            advice="Edit or resume that one.",
            code="sync_exists",
        ) from None
