"""The profiles of a read that made no member."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass  # below it is imported where it is used: most commands end sooner than that takes

# The reason of a profile whose Apptimize id another one has too: that one is the member.
DUPLICATE = "duplicate"
ExcludedProfile = tuple[str, str, str | None]  # reason, distinct id, and the Apptimize id of a duplicate
