"""Whether pages larger than Mixpanel's own are asked for, and what proves that a read with them is whole. Pure.

What is remembered of a project decides only whether it is asked. Whether a read is believed, that read alone decides:
a server that kept its word yesterday may hold profiles back today.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from core.errors import (
    IncompleteRead,
    PageSizeRefused,
    RateLimited,
    RunHeld,
    RunTookTooLong,
    SessionLost,
    VendorError,
    VendorRefused,
    VendorSurprise,
    VendorUnavailable,
)

# What is asked for unless a setting says otherwise.
USUAL = 10_000
# A refusal is forgotten after so long: servers change.
REFUSED_FOR = timedelta(days=30)
# So many runs running that failed with a size, and were whole without it, are a refusal.
_ENOUGH_FAILURES = 2
# Of pages no larger than the vendor's own nothing is gained.
_VENDORS_OWN = 1000
# Answers that no size has to do with: who asks is not known, or the plan has no such interface.
_OF_THE_ACCOUNT = (401, 402)


class Unproven(IncompleteRead):
    """The first page does not show that pages are as large as was asked. `offered`: how large it says they are.

    `is_contradicted`: more follow, and it is not full.
    """

    def __init__(self, message: str, *, offered: int | None = None, is_contradicted: bool = False) -> None:
        super().__init__(message)
        self.offered = offered
        self.is_contradicted = is_contradicted


class Doubt(StrEnum):
    """Why a read with a size came to nothing, as long as no read without one shows whether the size is to blame."""

    TRYING = "trying"  # one began: where no process does it any more, the process died of it, perhaps
    # By what may pass: the network, a time-out, a 5xx, a lost session, a refusal without a reason, a page not full.
    FAILED = "failed"
    REFUSED = "refused"  # the size was named, or the pages did not add up
    UNPROVEN = "unproven"  # the pages add up, but do not show that none was held back


@dataclass(frozen=True)
class SizeFacts:
    """What is remembered of asking a project for pages of one size. `offered`: a smaller one that it sends instead."""

    is_proven: bool = False
    offered: int | None = None
    refused_at: datetime | None = None
    failures: int = 0
    doubt: Doubt | None = None

    def is_refused(self, now: datetime) -> bool:
        """Return whether the project is not asked now. A refusal from the future is from before the clock was set."""
        return self.refused_at is not None and timedelta(0) <= now - self.refused_at < REFUSED_FOR


def is_worth_it(size: int, *, listed: int) -> bool:
    """Return whether a cohort takes several of the vendor's pages, or of smaller ones that a setting asks for."""
    return listed >= min(size, _VENDORS_OWN)


def fills(size: int, *, listed: int | None, last: int | None) -> bool:
    """Return whether a page of that size would be full, and not the only one: what `prove_first` asks for.

    `listed` is what the list of cohorts counts, `last` what the cohort's last read found, if it was read before.
    """
    expected = listed if last is None else last
    return expected is not None and expected > size


def prove_first(*, asked: int, page_size: int, rows: int, total: int, may_offer: bool) -> None:
    """Check the first page of a read with a size: it says that size, is full, and is not the only one.

    A server that cuts every page off at a number of its own, and counts in `total` what it sends, contradicts itself
    nowhere; it only never sends a page that is full. One that takes the size for a limit sends one full page alone.
    `may_offer`: a smaller size may be asked for the next time.

    Raises: Unproven, IncompleteRead where nothing is to be gained from that server.
    """
    if rows == page_size == asked:
        if total <= rows:
            raise Unproven(f"The first page held all {total:,} profiles: that there is no other one is not shown.")
        return
    if page_size > asked or (rows == page_size and page_size <= min(asked, _VENDORS_OWN)):
        raise IncompleteRead(f"Pages of {asked:,} profiles were asked for; the first is one of {page_size:,}.")
    if rows < page_size:
        message = f"The first page held {rows:,} profiles: that it could hold {page_size:,} is not shown."
        raise Unproven(message, is_contradicted=total > rows)
    if not may_offer:
        raise IncompleteRead(f"Pages are smaller by turns: {page_size:,} profiles instead of {asked:,}.")
    raise Unproven(f"Pages of {page_size:,} profiles were offered instead of {asked:,}.", offered=page_size)


def doubt_after(exc: BaseException) -> Doubt | None:
    """Return what an error of a read with a size says of that size; None where it is of another kind."""
    if isinstance(exc, Unproven):
        return Doubt.FAILED if exc.is_contradicted else Doubt.UNPROVEN
    if isinstance(exc, IncompleteRead | PageSizeRefused | VendorSurprise):
        return Doubt.REFUSED
    if isinstance(exc, MemoryError | SessionLost | RunTookTooLong):
        return Doubt.FAILED
    if isinstance(exc, VendorUnavailable):
        # That the hour is spent has nothing to do with a size; that a server sheds what is too much for it may.
        return None if isinstance(exc, RateLimited) and exc.kind == "hour" else Doubt.FAILED
    # A 403 or a 404 as well: what stands between may filter what it does not know, and one more question tells.
    return Doubt.FAILED if isinstance(exc, VendorRefused) and exc.status not in _OF_THE_ACCOUNT else None


def is_of_the_moment(exc: BaseException) -> bool:
    """Return whether what failed may be the server as a whole, at this moment: one more question tells."""
    return isinstance(exc, VendorUnavailable)


def clears(exc: BaseException) -> bool:
    """Return whether an error of a read without a size shows that the size was not to blame: it was an answer."""
    return isinstance(exc, IncompleteRead | RunHeld | VendorError) and not isinstance(exc, RateLimited)


def after_doubt(facts: SizeFacts, doubt: Doubt, *, offered: int | None = None) -> SizeFacts:
    """Return what is remembered after a read with the size that came to nothing."""
    return replace(facts, doubt=doubt, offered=offered or facts.offered)


def after_whole(facts: SizeFacts) -> SizeFacts:
    """Return what is remembered after a read with the size, or the one offered, that was whole."""
    return SizeFacts(is_proven=True, offered=facts.offered)


def after_whole_without(facts: SizeFacts, *, now: datetime, held_back: bool = False) -> SizeFacts:
    """Return what is remembered after a read without a size that was whole: what was in doubt counts against the size.

    `held_back`: the read with the size, just before, had announced fewer profiles.
    """
    if facts.doubt is None or (facts.doubt is Doubt.UNPROVEN and not held_back):
        return replace(facts, doubt=None)
    failures = facts.failures + 1
    if facts.doubt is Doubt.REFUSED or failures >= _ENOUGH_FAILURES:
        return SizeFacts(refused_at=now)
    return SizeFacts(failures=failures, offered=facts.offered)


def after_failure_without(facts: SizeFacts) -> SizeFacts:
    """Return what is remembered after a read without a size that failed as well: it was not the size."""
    return replace(facts, doubt=None)
