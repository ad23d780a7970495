"""What groups are called where one is chosen, or stands in a picture: two of one name are told apart."""

from __future__ import annotations

from collections import Counter

from data.models import Group
from pages.parts.formatting import group_name
from pages.parts.selection import tell_apart


def group_labels(delivered: list[Group], destinations: dict[int, str]) -> dict[int, str]:
    """Label each group by its name, after its destination where another has the same name: the end may be cut off."""
    names = {group.id: group_name(group) for group in delivered if group.id is not None}
    places = {group.id: group.destination_id for group in delivered if group.id is not None}
    counts = Counter(names.values())
    labels = {
        group_id: name if counts[name] == 1 else f"{destinations.get(places[group_id], 'Removed')}: {name}"
        for group_id, name in names.items()
    }
    return tell_apart(labels, lambda group_id: f" ({group_id})")
