"""What holds a run: numbers in, an error or nothing out. Pure: no input, no output."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from core.errors import RunHeld
from core.rules.matching import MatchRule

# The shrink limit that is offered for a group without a past, and the least for any, in percent.
LEAST_SUGGESTED, MOST_SUGGESTED = 10, 90


@dataclass(frozen=True)
class Hold:
    """What a held run shows a person: an approval stores it, and lets nothing through that goes beyond it.

    `base` names what the group was given last, readable or not; where it is not, all of its members count as removed.
    `doubts`, where whom the receiver holds is not known, tells one reason for that from a later one.
    """

    cause: str
    matched_by: str
    base: str | None
    removed: int = 0
    added: int = 0
    total: int | None = None  # where that disagrees: what was announced,
    profiles: int | None = None  # and what the pages hold
    doubts: int = 0  # of the group: what puts it in doubt later was not looked at

    def keeps_to(self, looked_at: Hold) -> bool:
        """Return whether this is what a person looked at: of the same kind, and no number larger."""
        if self._what() != looked_at._what():
            return False
        pairs = zip(self._numbers(), looked_at._numbers(), strict=True)
        return all(now <= then for now, then in pairs)

    def as_row(self) -> dict[str, Any]:
        """Return what is kept of it."""
        return asdict(self)

    def _what(self) -> tuple[str, str, str | None, int]:
        return self.cause, self.matched_by, self.base, self.doubts

    def _numbers(self) -> tuple[int, ...]:
        total, profiles = self.total or 0, self.profiles or 0
        # Two smaller numbers that lie further apart are a greater loss.
        return self.removed, self.added, total, profiles, abs(total - profiles)


_FIELDS = frozenset(field.name for field in fields(Hold))


def read_hold(row: dict[str, Any]) -> Hold:
    """Return what `as_row` kept; what else stands in the row, such as the run that it leads to, is not asked for."""
    return Hold(**{name: value for name, value in row.items() if name in _FIELDS})


def keeps_to(row: dict[str, Any], looked_at: dict[str, Any]) -> bool:
    """Return whether one of two that were kept keeps to the other: see `Hold.keeps_to`."""
    return read_hold(row).keeps_to(read_hold(looked_at))


def is_approved(hold: Hold, approvals: Iterable[dict[str, Any]] | None) -> bool:
    """Return whether one of the approvals that are kept with a run lets this through."""
    return any(hold.keeps_to(read_hold(row)) for row in approvals or ())


def suggest_shrink_limit(largest_drop: float | None) -> int:
    """Return the shrink limit to offer, in percent: twice the largest share that a group lost at once, in its past.

    MOST_SUGGESTED at most, whatever it lost: one of 100 would hold nothing, not even what empties the group.
    """
    # A share such as 0.07 is not exact: twice it is 14 %, not 15.
    twice = math.ceil(round((largest_drop or 0.0) * 200, 6))
    return min(max(twice, LEAST_SUGGESTED), MOST_SUGGESTED)


def furthest_total(totals: Sequence[int], *, profiles: int) -> int:
    """Return the announced total that disagrees most."""
    return max(totals, key=lambda total: abs(total - profiles))


def hold_for_total(*, profiles: int, totals: Sequence[int]) -> RunHeld:
    """Build the error for whole, gapless pages that disagree with `total`, read after read."""
    announced = " and ".join(f"{total:,}" for total in dict.fromkeys(totals))
    return RunHeld(
        f"Mixpanel announced {announced} profiles, but its pages hold {profiles:,}, twice in a row. "
        "Nothing was written.",
        advice="Compare the cohort's size in Mixpanel with both numbers, then apply it once or discard it.",
        code="held_total",
    )


def hold_for_shrinking(*, removed: int, base_members: int, most_percent: int | None) -> None:
    """Hold a write that would take more of its members from a group than the shrink limit allows.

    Raises: RunHeld.
    """
    if most_percent is None or not base_members or removed * 100 <= base_members * most_percent:
        return
    share = f"{removed / base_members:.1%}"
    raise RunHeld(
        f"The group would lose {removed:,} of its {base_members:,} members ({share}); the shrink limit is "
        f"{most_percent}%. Nothing was written.",
        advice="Look at who would leave, then apply it once or discard it.",
        code="held_shrink",
    )


def hold_for_unknown_base(*, base_members: int, most_percent: int | None, damage: str) -> None:
    """Hold a write under a shrink limit where the members that would leave are no longer known.

    `damage` ends a sentence on the file of the members that the group was given last. Raises: RunHeld.
    """
    if most_percent is None or not base_members:
        return
    raise RunHeld(
        f"Who of the group's {base_members:,} members would leave cannot be told: the file of the members that it was "
        f"given last {damage}. The shrink limit is {most_percent}%. Nothing was written.",
        advice="Apply it once to write the whole cohort, or discard it and look at the snapshots folder first.",
        code="held_shrink",
    )


def hold_for_unknown_members(*, gap: str | None) -> None:
    """Hold a full write to a receiver that only adds and may hold somebody who is not known. Raises: RunHeld."""
    if gap is not None:
        raise RunHeld(
            f"{gap} The receiver only adds, so anyone else it holds stays there, in the cohort or not. Nothing was "
            "written.",
            advice="Empty the group at the receiver, or compare it with the cohort. Then apply it once: that adds the "
            "whole cohort, and removes who is known to have left.",
            code="held_unknown_members",
        )


def hold_for_no_ids(*, profiles: int, members: int, base_members: int, rule: MatchRule) -> None:
    """Hold a write that would empty a group although profiles were read: a property was renamed or unset.

    Raises: RunHeld.
    """
    if profiles and not members and base_members:
        raise RunHeld(
            f"None of the {profiles:,} profiles has a usable id, and the group would lose all of its "
            f"{base_members:,} members. Nothing was written.",
            advice=f"Check in Mixpanel that profiles still have {rule.match_property}: the next run writes again when "
            "they do. Apply it once only if the group is meant to be emptied.",
            code="held_no_ids",
        )
