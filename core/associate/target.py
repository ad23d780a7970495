"""Which property an association sets, at which connection, and what earlier reads know of its users."""

from __future__ import annotations

from core.bridge import Bridge
from core.connections.project import match_rule
from core.errors import NotConnected, SettingsError
from core.rules.matching import APPTIMIZE_PROPERTY, USER_PROPERTY, IdMerge, MatchRule
from data import associations, connections
from data.members.association_check import KnownProfiles
from data.models import Association, Connection


def property_to_set(rule: MatchRule) -> str:
    """Return the property that associating sets: the one matched on, but never a Simplified project's own user id."""
    return APPTIMIZE_PROPERTY if rule.match_property == USER_PROPERTY else rule.match_property


def property_for(connection: Connection) -> str:
    """Return the property that associating sets through this connection."""
    return property_to_set(match_rule(connection))


def aliases_ids(connection: Connection) -> bool:
    """Return whether each id is aliased too: only where ids are merged the original way."""
    return connection.id_merge == IdMerge.ORIGINAL


def connection_to_write(bridge: Bridge, association: Association) -> tuple[Connection, str]:
    """Return the connection that an association goes through, and its project token.

    Raises: NotConnected, SecretKeyLost, SettingsError when it sets other ids now than those that were checked.
    """
    connection = connections.get_connection(bridge.engine, association.mixpanel_id)
    if connection is None or connection.removed or connection.project_id != association.project_id:
        raise NotConnected("The Mixpanel connection was removed, or leads to another project now.")
    if (association.match_property, association.aliases) != (
        property_to_set(match_rule(connection)),
        aliases_ids(connection),
    ):
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


def known_profiles(bridge: Bridge, project_id: int) -> KnownProfiles:
    """Return the files of what the latest reads of the project's cohorts know of its profiles."""
    snapshots, names = bridge.snapshots, associations.list_read_files(bridge.engine, project_id)
    return KnownProfiles(
        members=[snapshots.path(name) for name in names.members if snapshots.is_readable(name)],
        excluded=[snapshots.path(name) for name in names.excluded if snapshots.is_readable(name)],
    )
