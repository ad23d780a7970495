"""The profiles of a read that made no member."""

from __future__ import annotations

from typing import NamedTuple

# The reason of a profile whose Apptimize id another one has too: that one is the member.
DUPLICATE = "duplicate"


class ExcludedProfile(NamedTuple):
    """A profile that made no member, why, and, of a duplicate, the Apptimize id that it shares."""

    reason: str
    distinct_id: str
    apptimize_id: str | None
