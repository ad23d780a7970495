"""What a run changed in a group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    pass  # below it is imported where it is used: most commands end sooner than that takes

ChangeKind = Literal["added", "removed"]
