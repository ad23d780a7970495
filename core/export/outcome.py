"""What a run learns as it proceeds, in the form in which its outcome records it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import CohortBridgeError
from core.rules.holding import Hold
from core.rules.matching import ANONYMOUS, IDENTIFIED, Reason
from data.failure import Failure
from data.members.changes import Difference
from data.members.collector import Tally
from data.run_outcome import ReadCounts

if TYPE_CHECKING:
    from core.export.compare import Comparison


@dataclass
class Findings:
    """What a run has learned so far: recorded with it however it ends."""

    in_cohort: int | None = None
    matched_by: str = ""
    counts: ReadCounts | None = None
    difference: Difference | None = None
    excluded: str | None = None
    hold: Hold | None = None
    notice: str | None = None
    fingerprint: str | None = None  # of the members that were read
    tried: str | None = None  # the snapshot that its delivery began with, where that is kept whatever becomes of it
    changes: str | None = None  # the file that tells who is added and removed

    def take(self, comparison: Comparison, counts: ReadCounts, fingerprint: str | None) -> None:
        """Take over what a whole read, or the snapshot in its place, came to."""
        self.counts, self.fingerprint = counts, fingerprint
        self.difference, self.changes, self.notice = comparison.difference, comparison.changes, comparison.notice


def read_counts(tally: Tally) -> ReadCounts:
    """Turn what was collected into the run's counts, which add up to `profiles`."""
    unmatched = tally.reasons.get(Reason.UNMATCHED, 0)
    return ReadCounts(
        profiles=tally.profiles,
        members=tally.members,
        duplicates=tally.duplicates,
        unmatched=unmatched,
        invalid=sum(tally.reasons.values()) - unmatched,
        unprefixed=tally.unprefixed,
        identified=tally.prefixed.get(IDENTIFIED, 0),
        anonymous=tally.prefixed.get(ANONYMOUS, 0),
        reasons={reason: number for reason, number in tally.reasons.items() if reason != Reason.UNMATCHED},
    )


def failure_from(exc: CohortBridgeError) -> Failure:
    """Turn an error into what the row of the work that it ended keeps of it."""
    return Failure(exc.code, exc.message, exc.advice)
