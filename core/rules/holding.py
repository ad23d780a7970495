"""What holds a run: numbers in, an error or nothing out. Pure: no input, no output."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import RunHeld


def approval_key(code: str, matched_by: str) -> str:
    """Name what a person looked at: why a run was held, and how its users were matched."""
    return f"{code} {matched_by}"


def hold_for_total(*, profiles: int, totals: Sequence[int]) -> RunHeld:
    """Build the error for whole, gapless pages that disagree with `total`, read after read."""
    announced = " and ".join(f"{total:,}" for total in dict.fromkeys(totals))
    return RunHeld(
        f"Mixpanel announced {announced} profiles, but its pages hold {profiles:,}, twice running. "
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


def hold_for_unknown_base(*, base_members: int, most_percent: int | None) -> None:
    """Hold a write under a shrink limit where the members that would leave are no longer known.

    Raises: RunHeld.
    """
    if most_percent is None or not base_members:
        return
    raise RunHeld(
        f"Who of the group's {base_members:,} members would leave cannot be told: what it was given last is no longer "
        f"kept, and the shrink limit is {most_percent}%. Nothing was written.",
        advice="Apply it once to write the whole cohort, or discard it and look why the snapshots are gone.",
        code="held_shrink",
    )


def hold_for_no_ids(*, profiles: int, members: int, base_members: int, match_property: str) -> None:
    """Hold a write that would empty a group although profiles were read: a property was renamed or unset.

    Raises: RunHeld.
    """
    if profiles and not members and base_members:
        raise RunHeld(
            f"None of the {profiles:,} profiles has a usable id, and the group would lose all of its "
            f"{base_members:,} members. Nothing was written.",
            advice=f"Check in Mixpanel that profiles still have {match_property}: the next run writes again when they "
            "do. Apply it once only if the group is meant to be emptied.",
            code="held_no_ids",
        )
