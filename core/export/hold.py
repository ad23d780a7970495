"""Hold a run that would write what looks like a mistake, unless a person looked at it and approved it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from core.errors import RunHeld
from core.export.compare import Comparison
from core.export.job import Job
from core.export.leavers import Leavers
from core.export.outcome import Findings
from core.rules import holding
from core.rules.holding import Hold
from data.members.collector import Tally


def hold_if_wrong(
    job: Job, findings: Findings, tally: Tally, comparison: Comparison, leavers: Leavers | None = None
) -> None:
    """Hold a run without usable ids, one that goes beyond the sync's shrink limit, or one that cannot remove everybody
    who left. Raises RunHeld.
    """
    difference = comparison.difference
    removed = job.group.members if comparison.base is None else difference.removed
    if leavers:
        removed = max(removed, leavers.members)

    def require(*checks: Callable[[], None], doubts: int = 0) -> None:
        try:
            for check in checks:
                check()
        except RunHeld as exc:
            base, added = job.group.base_snapshot, difference.added
            hold = Hold(exc.code, str(job.rule), base, removed=removed, added=added, doubts=doubts)
            _raise_unless_approved(exc, hold, job, findings)

    require(partial(_require_ids, job, tally), partial(_require_limit, job, comparison))
    unknown = partial(holding.hold_for_unknown_members, gap=leavers.gap if leavers else None)
    require(unknown, doubts=job.doubts)


def hold_for_total(job: Job, findings: Findings, *, profiles: int, totals: Sequence[int]) -> None:
    """Hold a run whose pages are whole, but disagree with what was announced. Raises RunHeld."""
    exc = holding.hold_for_total(profiles=profiles, totals=totals)
    total = holding.furthest_total(totals, profiles=profiles)
    hold = Hold(exc.code, str(job.rule), job.group.base_snapshot, total=total, profiles=profiles)
    _raise_unless_approved(exc, hold, job, findings)


def _raise_unless_approved(exc: RunHeld, hold: Hold, job: Job, findings: Findings) -> None:
    if not holding.is_approved(hold, job.approvals):
        findings.hold = hold
        raise exc


def _require_ids(job: Job, tally: Tally) -> None:
    holding.hold_for_no_ids(
        profiles=tally.profiles,
        members=tally.members,
        base_members=job.group.members,
        rule=job.rule,
    )


def _require_limit(job: Job, comparison: Comparison) -> None:
    base_members, most_percent = job.group.members, job.sync.max_shrink
    if comparison.base is None:
        holding.hold_for_unknown_base(
            base_members=base_members, most_percent=most_percent, damage=comparison.damage or "is no longer there"
        )
    removed = comparison.difference.removed
    holding.hold_for_shrinking(removed=removed, base_members=base_members, most_percent=most_percent)
