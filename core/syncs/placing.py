"""Which group a cohort has at a destination: one, and no other cohort's."""

from __future__ import annotations

from sqlmodel import Session, col, select

from core.connections.project import match_rule
from core.errors import GroupTaken
from core.export.names import group_taken
from core.validation import clean_line
from core.vendors.mixpanel_answers import Cohort
from data import groups
from data.groups import NameTaken
from data.models import Connection, Group, Sync, SyncKind, SyncState

_NAME_LENGTH = 200


def place_group(
    session: Session,
    mixpanel: Connection,
    destination: Connection,
    cohort_id: int,
    known: Cohort | None,
    asked: str | None,
) -> Group:
    """Find or make the cohort's one group at the destination, under the name asked for."""
    assert destination.id is not None
    group = session.exec(
        select(Group).where(
            Group.destination_id == destination.id,
            Group.project_id == mixpanel.project_id,
            Group.cohort_id == cohort_id,
        )
    ).first()
    if group is None:
        cohort_name = known.name if known else f"Cohort {cohort_id}"
        group = Group(
            destination_id=destination.id,
            project_id=mixpanel.project_id,
            cohort_id=cohort_id,
            cohort_name=cohort_name,
            name=cohort_name,
        )
    elif known:
        group.cohort_name = known.name
    own_name = clean_line(asked, "Group name", most=_NAME_LENGTH) if asked is not None else group.own_name
    if own_name == group.cohort_name:
        own_name = None  # no name of its own: it follows the cohort's
    exists = group.delivered_at is not None or group.in_doubt
    if exists and own_name != group.own_name:
        raise GroupTaken(
            f"Cohort {cohort_id} already has the group {group.name} at {destination.name}.",
            advice="A cohort has one group at a destination: leave the name as it is, or choose another destination.",
        )
    group.own_name, group.name = own_name, own_name or group.cohort_name
    session.add(group)
    session.flush()
    try:
        groups.require_free_name(session, group, group.name)
    except NameTaken as exc:
        raise group_taken(exc) from None
    return group


def require_same_matching(session: Session, sync: Sync) -> None:
    """Refuse a sync that would match the users of a group in another way than the recurring one that keeps it.

    Raises: GroupTaken.
    """
    query = select(Sync).where(
        Sync.group_id == sync.group_id,
        Sync.kind == SyncKind.RECURRING,
        col(Sync.state) != SyncState.REMOVED,
        col(Sync.mixpanel_id) != sync.mixpanel_id,
    )
    for other in session.exec(query).all():
        theirs, mine = (session.get_one(Connection, one.mixpanel_id) for one in (other, sync))
        if not theirs.removed and str(match_rule(theirs, other)) != str(match_rule(mine, sync)):
            raise GroupTaken(
                f"Sync {other.id} keeps this group through the connection {theirs.name}, which matches users in "
                f"another way than {mine.name}.",
                advice="Give both connections the same match property and ID merge mode, or use another destination.",
            )


def follow_matching(session: Session, sync: Sync) -> None:
    """Give a new sync the match settings that its group's others have: two of them would undo each other's work."""
    other = session.exec(
        select(Sync).where(Sync.group_id == sync.group_id, col(Sync.state) != SyncState.REMOVED).order_by(col(Sync.id))
    ).first()
    if other:
        sync.match_property, sync.expects_prefix = other.match_property, other.expects_prefix
