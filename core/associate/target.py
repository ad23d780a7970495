"""Which property an association sets, at which connection, and what earlier reads know of its users."""

from __future__ import annotations

from sqlmodel import col, select

from core.bridge import Bridge
from core.connections.project import match_rule
from core.errors import NotConnected, SettingsError
from core.rules.matching import APPTIMIZE_PROPERTY, USER_PROPERTY, IdMerge, MatchRule
from data.engine import read_session
from data.members.association_rows import Known
from data.models import Association, Connection, Group, Run


def property_to_set(rule: MatchRule) -> str:
    """Return the property that associating sets: the one matched on, but never a Simplified project's own user id."""
    return APPTIMIZE_PROPERTY if rule.match_property == USER_PROPERTY else rule.match_property


def property_for(connection: Connection) -> str:
    """Return the property that associating sets through this connection."""
    return property_to_set(match_rule(connection))


def aliases_ids(connection: Connection) -> bool:
    """Tell whether each id is aliased too: only where ids are merged the original way."""
    return connection.id_merge == IdMerge.ORIGINAL


def connection_to_write(bridge: Bridge, found: Association) -> tuple[Connection, str]:
    """Return the connection that an association goes through, and its project token.

    Raises: NotConnected, SecretKeyLost, SettingsError when it sets other ids now than those that were checked.
    """
    with read_session(bridge.engine) as session:
        connection = session.get(Connection, found.mixpanel_id)
    if connection is None or connection.removed or connection.project_id != found.project_id:
        raise NotConnected("The Mixpanel connection was removed, or leads to another project now.")
    if (found.match_property, found.aliases) != (property_to_set(match_rule(connection)), aliases_ids(connection)):
        raise SettingsError(
            "The match property or the ID merge mode of the Mixpanel connection changed after the rows were checked.",
            advice="Start with the file again.",
        )
    if not connection.project_token:
        raise NotConnected(
            "The Mixpanel connection has no project token, and profiles cannot be written without it.",
            advice="Ask an admin to enter it on the Connections page: Mixpanel shows it in the project settings.",
            code="no_project_token",
        )
    return connection, bridge.vault.decrypt(connection.project_token)


def known_profiles(bridge: Bridge, project_id: int) -> Known:
    """Name the files of what the latest readings of the project's cohorts know of its profiles."""
    snapshots = bridge.snapshots
    with read_session(bridge.engine) as session:
        groups = select(Group.id).where(Group.project_id == project_id)
        bases = session.exec(select(Group.base_snapshot).where(Group.project_id == project_id)).all()
        excluded = session.exec(
            select(Run.excluded).where(col(Run.group_id).in_(groups), col(Run.excluded).is_not(None))
        ).all()
    return Known(
        members=[snapshots.path(name) for name in dict.fromkeys(bases) if name and snapshots.is_whole(name)],
        excluded=[snapshots.path(name) for name in excluded if name and snapshots.is_whole(name)],
    )
