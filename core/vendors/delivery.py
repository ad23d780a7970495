"""What every way of writing a group offers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from data.models import Member

MembershipChange = Literal["added", "removed"]


@dataclass(frozen=True)
class Target:
    """The group that is written, and the cohort that it comes from."""

    project_id: int
    cohort_id: int
    cohort_name: str
    group_name: str
    description: str = ""


class Delivery(Protocol):
    """A way to write a group."""

    messages: int

    @property
    def takes_differences(self) -> bool:
        """Whether `change` is a way to write; otherwise every write is a whole one."""
        ...

    def is_in_place(self, target: Target) -> bool:
        """Tell whether what was delivered before is still there, as far as that can be seen."""
        ...

    async def overwrite(self, target: Target, chunks: Iterator[list[Member]], *, members: int) -> None:
        """Make the group hold exactly these members, `members` of them."""
        ...

    async def change(
        self, target: Target, change: MembershipChange, chunks: Iterator[list[Member]], *, members: int
    ) -> None:
        """Add these members to the group, or remove them from it."""
        ...
