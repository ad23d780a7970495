"""Whether one id is in one group, as last delivered: what a pipeline asks, where a person looks a user up."""

from __future__ import annotations

from dataclasses import replace

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.errors import NotFound
from core.reports.user_lookup import InGroup, look_up_user
from core.syncs.groups import get_base

# The reason of an id that is no member's, and leads to one: a distinct id, or an id of another kind.
OTHER_ID = "other_id"


@action(Role.VIEWER)
def check_member(bridge: Bridge, actor: Actor, group_id: int, member_id: str) -> InGroup:
    """Return what a group knows of a member id, byte for byte.

    Another id of a member is none: it is answered with the reason `other_id`, and the member id that goes with it.
    Raises: NotFound, SettingsError, StorageFailed where it cannot be known who is in the group.
    """
    get_base(bridge, group_id)
    found = look_up_user(bridge, actor, member_id, group_id=group_id).groups
    if not found:
        raise NotFound(f"There is no group {group_id}.", advice="See the list: GET /api/v1/groups.")
    answer = found[0]
    if answer.is_member and answer.apptimize_id != member_id:
        return replace(answer, is_member=False, since=None, run_id=None, reason=answer.reason or OTHER_ID)
    return answer
