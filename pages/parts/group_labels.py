"""What groups are called where one is chosen, or stands in a picture: two of one name are told apart."""

from __future__ import annotations

from data.models import Group
from pages.parts.formatting import group_name
from pages.parts.selection import tell_apart


def group_labels(delivered: list[Group], destinations: dict[int, str]) -> dict[int, str]:
    """Label each group by its name, after its destination where another has the same name: the end may be cut off."""
    by_id = {group.id: group for group in delivered if group.id is not None}

    def place(group_id: int) -> str:
        return f"{destinations.get(by_id[group_id].destination_id, 'Removed')}: "

    names = {group_id: group_name(group) for group_id, group in by_id.items()}
    return tell_apart(names, place, is_detail_first=True)
