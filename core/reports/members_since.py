"""Since when the members of a page of a group are in it."""

from __future__ import annotations

from collections.abc import Sequence

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.errors import NotFound
from core.reports.memberships import Membership, Stretch, changes_back, list_kept_by_group, list_memberships
from data import groups
from data.members.lookup import list_membership_changes
from data.run_stats import Change

# So many changes are looked through for a page of members, since that is asked with each page and each search. A person
# who wants to know what was before looks the user up, who is searched for further back.
LOOKED_THROUGH = 200
# So many members are asked for at once.
MOST_MEMBERS = 100


@action(Role.VIEWER)
def list_since(
    bridge: Bridge, actor: Actor, group_id: int, apptimize_ids: Sequence[str], *, look_through: int = LOOKED_THROUGH
) -> dict[str, Membership]:
    """Return since when each of at most 100 members of a group is in it, as far as its newest changes tell.

    Only what follows the last change whose file is gone or damaged tells it: who left and came back with that one is
    not known. Raises NotFound, StorageFailed.
    """
    group = groups.get_group(bridge.engine, group_id)
    if group is None:
        raise NotFound(f"There is no group {group_id}.", advice="See Groups.")
    some = list(apptimize_ids)[:MOST_MEMBERS]
    newest, _ = changes_back(bridge, group_id, look_through)
    bridge.snapshots.place.bring([change.difference for change in newest])  # elsewhere, one after another takes long
    kept = _last_stretch(bridge, newest)
    kinds = list_membership_changes(bridge.snapshots, [change.difference for change in kept], *some)
    # A file that turned out to be damaged tells nothing, and not that no one joined or left.
    kept = _last_stretch(bridge, newest)
    return {apptimize_id: list_memberships(group, kept, kinds[apptimize_id], is_in=True)[-1] for apptimize_id in some}


def _last_stretch(bridge: Bridge, newest: list[Change]) -> Stretch:
    """Return the changes of a group after the last one whose file is not there."""
    stretches = [stretches[-1] for stretches in list_kept_by_group(bridge, newest).values()]
    return stretches[0] if stretches else []
