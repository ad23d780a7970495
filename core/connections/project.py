"""What a project is asked with, and how its users are matched."""

from __future__ import annotations

from core.bridge import Bridge
from core.rules.matching import IdMerge, MatchRule, by_distinct_id, by_property
from core.vendors.mixpanel_project import Project
from data.models import Connection, MemberId, Sync


def destination_rule(destination: Connection) -> MatchRule | None:
    """Return the rule of a destination that knows people by another id than Apptimize's; None where it does not."""
    if destination.member_id == MemberId.DISTINCT:
        return by_distinct_id()
    return by_property(destination.member_property) if destination.member_id == MemberId.PROPERTY else None


def match_rule(connection: Connection, sync: Sync | None = None, destination: Connection | None = None) -> MatchRule:
    """Return how a connection matches users, or one sync of it that has own settings.

    A destination that knows people by another id than Apptimize's decides that alone.
    """
    if destination and (own_rule := destination_rule(destination)):
        return own_rule
    own = sync.match_property if sync else None
    expects = sync.expects_prefix if sync else None
    return MatchRule(
        IdMerge(connection.id_merge),
        own or connection.match_property,
        connection.expects_prefix if expects is None else expects,
    )


def project_key(connection: Connection) -> str:
    """Return what the query budget of a connection's project is kept under; its secret is not needed for that."""
    return Project(connection.base_url, connection.project_id, username="", secret="").key


def project_for(bridge: Bridge, connection: Connection) -> Project:
    """Build the address and credentials of a Mixpanel connection. Raises SecretKeyLost."""
    return Project(
        base_url=connection.base_url,
        project_id=connection.project_id,
        username=connection.username,
        secret=bridge.vault.decrypt(connection.secret),
        workspace_id=connection.workspace_id,
    )
