"""The contract of a destination: what every delivery of a group offers, and the group that it writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from data.models import Member, MembershipChange


@dataclass(frozen=True)
class Target:
    """The group that is written, and the cohort that it comes from."""

    project_id: int
    cohort_id: int
    cohort_name: str
    group_name: str
    description: str = ""


class StoredMembers(Protocol):
    """Members that are kept, in order of Apptimize id; each time they are read from the beginning."""

    def chunks(self) -> Iterator[list[Member]]:
        """Yield the members, some at a time."""
        ...

    def json_chunks(self, *, distinct_id: str, apptimize_id: str, chunk: int) -> Iterator[tuple[bytes, int]]:
        """Yield the members as JSON objects with these keys: `chunk` in a text, commas between, and their number.

        `apptimize_id` is the key of what members are known by, and wins where both keys are the same.
        """
        ...


class Delivery(Protocol):
    """Writes a group."""

    messages: int

    @property
    def takes_differences(self) -> bool:
        """Whether `change` is available; otherwise every write is a full one."""
        ...

    def is_in_place(self, target: Target) -> bool:
        """Return whether what was delivered before is still there, as far as that can be seen."""
        ...

    async def overwrite(self, target: Target, stored: StoredMembers, *, members: int) -> None:
        """Make the group hold exactly these members, `members` of them."""
        ...

    async def change(self, target: Target, change: MembershipChange, stored: StoredMembers, *, members: int) -> None:
        """Add these members to the group, or remove them from it."""
        ...
