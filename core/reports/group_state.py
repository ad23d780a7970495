"""What a group is at this moment: as its cohort, rolled back, or in doubt. Each answer is about one group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from data import groups, run_stats
from data.models import Group, Run


class GroupState(StrEnum):
    """What is known of a group's members, as the screens call it."""

    AS_DELIVERED = "As delivered"
    ROLLED_BACK = "Rolled back"
    IN_DOUBT = "In doubt"


@dataclass(frozen=True)
class GroupNow:
    """A group at this moment. `settled_by` is the last run to end that wrote it, or found it as it should be."""

    group: Group
    destination: str
    settled_by: Run | None
    only_adds: bool = False  # its receiver removes nobody by itself: whom somebody else added there stays

    @property
    def state(self) -> GroupState:
        """What is known of its members."""
        if self.group.in_doubt:
            return GroupState.IN_DOUBT
        is_rolled_back = self.settled_by is not None and self.settled_by.trigger == "undo"
        return GroupState.ROLLED_BACK if is_rolled_back else GroupState.AS_DELIVERED

    def is_as_of(self, run: Run) -> bool:
        """Return whether the group is now what it was after a run of its own, as far as is known."""
        return not self.group.in_doubt and self.settled_by is not None and self.settled_by.id == run.id


@action(Role.VIEWER)
def group_states(bridge: Bridge, actor: Actor, *, only: Sequence[int] | None = None) -> dict[int, GroupNow]:
    """Return the groups that were delivered, all or those of these ids, by id."""
    settled = run_stats.last_success_of_each_group(bridge.engine, only=only)
    only_adding = groups.list_only_adding(bridge.engine)
    return {
        group.id: GroupNow(group, destination, settled.get(group.id), only_adds=group.id in only_adding)
        for group, destination in groups.list_with_destination(bridge.engine, only=only)
        if group.id is not None and group.delivered_at is not None
    }
