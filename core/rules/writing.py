"""How a group is written: not at all, by the difference, or in full after any doubt about what it holds. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from data.models import Group

# Groups can be edited by hand at the destination: once a day the whole of them is written again.
_FULL_EVERY = timedelta(hours=24)

WriteMode = Literal["full", "delta", "none"]


@dataclass(frozen=True)
class WriteFacts:
    """All that decides how a group is written."""

    group: Group
    matched_by: str  # the match setting that the new members were read with
    has_base: bool  # the snapshot that the group was given last is still kept, and whole
    has_changes: bool  # members were added or removed since
    in_place: bool  # what was delivered last is still there, as far as that can be seen
    force_full: bool = False  # a person, or a run that was interrupted, asks for a full write
    is_restore: bool = False  # the group is rolled back to an earlier snapshot
    takes_differences: bool = True  # what was added and removed can be delivered by itself


def choose_write_mode(facts: WriteFacts, *, now: datetime) -> WriteMode:
    """Choose the smallest write that is safe."""
    return _choose_message(facts, now) if facts.takes_differences else _choose_file(facts)


def _choose_message(facts: WriteFacts, now: datetime) -> WriteMode:
    group = facts.group
    must_be_full = (
        facts.force_full
        or facts.is_restore
        or not facts.has_base
        or group.in_doubt
        or group.full_at is None
        or not timedelta(0) <= now - group.full_at < _FULL_EVERY
        or group.delivered_name != group.name
        or group.base_match != facts.matched_by
    )
    if must_be_full:
        return "full"
    return "delta" if facts.has_changes else "none"


def _choose_file(facts: WriteFacts) -> WriteMode:
    group = facts.group
    is_known = facts.has_base and not group.in_doubt and group.delivered_name == group.name and facts.in_place
    return "none" if is_known and not facts.has_changes and not facts.force_full else "full"
