"""What must be true before a group is written. Pure: numbers in, an error or nothing out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import IncompleteRead, RunHeld


@dataclass(frozen=True)
class PageFacts:
    """What one answer said of itself. `number` is the page that was asked for, `rows` how many profiles it held."""

    number: int
    said_page: int | None
    rows: int


def prove_pages(pages: Sequence[PageFacts], *, page_size: int) -> None:
    """Check that the pages are all there, none twice, each full but the last; empty ones after it are past the end.

    Raises: IncompleteRead saying which page is not as it should be.
    """
    ordered = sorted(pages, key=lambda page: page.number)
    while len(ordered) > 1 and not ordered[-1].rows:
        ordered.pop()
    for expected, page in enumerate(ordered):
        if page.number != expected:
            raise IncompleteRead(f"Page {expected + 1:,} of the cohort did not arrive.")
        if page.said_page is not None and page.said_page != page.number:
            raise IncompleteRead(
                f"Mixpanel answered with page {page.said_page + 1:,} when asked for page {page.number + 1:,}."
            )
        is_last = page is ordered[-1]
        if page.rows > page_size or (not is_last and page.rows != page_size):
            raise IncompleteRead(f"Page {page.number + 1:,} held {page.rows:,} profiles instead of {page_size:,}.")


def prove_distinct(*, seen: int, profiles: int) -> None:
    """Check that no profile came twice.

    Raises: IncompleteRead.
    """
    if seen != profiles:
        raise IncompleteRead(f"{seen - profiles:,} profiles came twice, so others may be missing.")


def hold_for_total(*, profiles: int, totals: Sequence[int]) -> RunHeld:
    """Build the error for whole, gapless pages that disagree with `total`, reading after reading."""
    told = " and ".join(f"{total:,}" for total in dict.fromkeys(totals))
    return RunHeld(
        f"Mixpanel announced {told} profiles, but its pages hold {profiles:,}, twice running. Nothing was written.",
        advice="Compare the cohort's size in Mixpanel with both numbers, then apply it once or discard it.",
        code="held_total",
    )


def hold_for_shrinking(*, removed: int, base_members: int, most_percent: int | None) -> None:
    """Hold a write that would take more than the set share of its members from a group.

    Raises: RunHeld.
    """
    if most_percent is None or not base_members or removed * 100 <= base_members * most_percent:
        return
    share = f"{removed / base_members:.1%}"
    raise RunHeld(
        f"The group would lose {removed:,} of its {base_members:,} members ({share}); the brake is set at "
        f"{most_percent}%. Nothing was written.",
        advice="Look at who would leave, then apply it once or discard it.",
        code="held_shrink",
    )


def hold_for_unknown_base(*, base_members: int, most_percent: int | None) -> None:
    """Hold a write with a brake where nobody can tell any more who would leave.

    Raises: RunHeld.
    """
    if most_percent is None or not base_members:
        return
    raise RunHeld(
        f"Who of the group's {base_members:,} members would leave cannot be told: what it was given last is no longer "
        f"kept, and the brake is set at {most_percent}%. Nothing was written.",
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
