"""From a cohort to a group: how many of its users get there, where the others are excluded, and who they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields

from core import spreadsheet
from core.access.roles import Actor, Role, action
from core.bridge import Bridge, storage_errors_of
from core.connections.lookup import find_project, require_one_project
from core.errors import NotFound, StorageFailed
from core.rules.id_words import id_words
from core.rules.matching import id_kind
from core.text import clean_search
from data import cohort_reads, groups, proofs, runs
from data.cohort_reads import CohortRead, ReadShare
from data.members.duck import MembersDamaged
from data.members.excluded import ExcludedProfile, count_excluded, iterate_excluded, list_excluded
from data.models import Run
from data.run_order import when_ended

_EXCLUDED_COLUMNS = ("reason", "distinct_id")


@dataclass(frozen=True)
class Funnel:
    """What became of the users of a cohort.

    `with_profile` = `with_id` + `unmatched`; `with_id` = `valid` + `invalid`; `valid` = `distinct` + `duplicates`;
    `distinct` (the members) = `prefixed` + `unprefixed`; `prefixed` = `identified` + `anonymous`, where a prefix is
    expected. `in_cohort` is what Mixpanel last counted, None where it is not known.
    """

    in_cohort: int | None
    with_profile: int
    with_id: int
    valid: int
    distinct: int
    prefixed: int
    unmatched: int
    invalid: int
    duplicates: int
    unprefixed: int
    identified: int
    anonymous: int
    reasons: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def expects_prefix(self) -> bool:
        """Whether members were distinguished by their prefix."""
        return self.distinct > 0 and self.identified + self.anonymous + self.unprefixed == self.distinct


def get_funnel(run: Run) -> Funnel:
    """Turn a read's counts into its funnel."""
    return Funnel(
        in_cohort=run.in_cohort,
        with_profile=run.profiles,
        with_id=run.profiles - run.unmatched,
        valid=run.profiles - run.unmatched - run.invalid,
        distinct=run.members,
        prefixed=run.members - run.unprefixed,
        unmatched=run.unmatched,
        invalid=run.invalid,
        duplicates=run.duplicates,
        unprefixed=run.unprefixed,
        identified=run.identified,
        anonymous=run.anonymous,
        reasons=dict(run.reasons),
    )


def add_up(funnels: Sequence[Funnel]) -> Funnel:
    """Add funnels of several cohorts up; a user who is in two of them counts twice."""
    counts = [funnel.in_cohort for funnel in funnels]
    reasons = Counter[str]()
    for funnel in funnels:
        reasons.update(funnel.reasons)
    names = {column.name for column in fields(Funnel)} - {"in_cohort", "reasons"}
    return Funnel(
        in_cohort=sum(count for count in counts if count is not None) if None not in counts else None,
        reasons=dict(reasons),
        **{name: sum(getattr(funnel, name) for funnel in funnels) for name in names},
    )


@action(Role.VIEWER)
def latest_reads(bridge: Bridge, actor: Actor) -> list[CohortRead]:
    """List the latest read of each project's cohort, whichever destination it was for, by the cohort's name.

    Where destinations know people by different ids, there is one for each kind of id; Apptimize's comes first.
    """
    newest: dict[tuple[int, int, str], CohortRead] = {}
    for read in sorted(cohort_reads.latest_reads(bridge.engine), key=lambda read: when_ended(read.run)):
        newest[_cohort_and_kind(read)] = read
    return sorted(newest.values(), key=lambda read: (read.run.cohort_name.casefold(), *_cohort_and_kind(read)))


def _cohort_and_kind(read: CohortRead) -> tuple[int, int, str]:
    return read.run.cohort_id, read.project_id, id_kind(read.run.matched_by)


@action(Role.VIEWER)
def find_read(bridge: Bridge, actor: Actor, run_id: int) -> CohortRead | None:
    """Find a run, with the project whose cohort it read."""
    run = runs.get(bridge.engine, run_id)
    group = groups.get_group(bridge.engine, run.group_id) if run else None
    if run is None or group is None:
        return None
    return CohortRead(run, group.project_id)


@action(Role.VIEWER)
def list_reads(bridge: Bridge, actor: Actor, project_id: int, cohort_id: int, *, limit: int = 200) -> list[Run]:
    """List the latest reads of a project's cohort, dry runs too, oldest first."""
    return cohort_reads.list_reads(bridge.engine, project_id, cohort_id, limit=limit)[::-1]


@action(Role.VIEWER)
def list_shares(bridge: Bridge, actor: Actor, *, limit: int) -> list[ReadShare]:
    """List which share of its profiles each of the latest reads matched by Apptimize id, dry runs too, oldest first."""
    reads = cohort_reads.list_shares(bridge.engine, limit=limit)
    return [read for read in reversed(reads) if not id_kind(read.matched_by)]


@action(Role.VIEWER)
def find_last_read(
    bridge: Bridge, actor: Actor, cohort_id: int, *, to: str | None = None, mixpanel: str | None = None
) -> Run:
    """Find the latest read of a cohort, dry runs too, or the latest for a destination.

    Raises: NotFound, NotConnected, SettingsError.
    """
    project_id = find_project(bridge, mixpanel) if mixpanel else None
    reads = [
        read
        for read in cohort_reads.latest_reads(bridge.engine)
        if read.run.cohort_id == cohort_id
        and to in (None, read.run.destination)
        and project_id in (None, read.project_id)
    ]
    if not reads:
        raise NotFound(f"Cohort {cohort_id} was not read yet.", advice="Omit --last to read it now.")
    require_one_project(bridge, {read.project_id for read in reads}, cohort_id)
    return max((read.run for read in reads), key=when_ended)


@dataclass(frozen=True)
class ExcludedPage:
    """A page of the profiles that made no member, and how many there are."""

    rows: list[ExcludedProfile]
    total: int


@action(Role.VIEWER)
def excluded(
    bridge: Bridge,
    actor: Actor,
    run_id: int,
    *,
    reasons: Sequence[str] = (),
    search: str = "",
    offset: int = 0,
    limit: int = 50,
) -> ExcludedPage:
    """Page through the profiles of a read that made no member. Raises NotFound, StorageFailed."""
    _, name = _kept(bridge, run_id)
    search = clean_search(search)
    return ExcludedPage(
        list_excluded(bridge.snapshots, name, reasons=reasons, search=search, offset=offset, limit=limit),
        count_excluded(bridge.snapshots, name, reasons=reasons, search=search),
    )


@action(Role.VIEWER)
def excluded_csv(
    bridge: Bridge, actor: Actor, run_id: int, *, reasons: Sequence[str] = (), search: str = ""
) -> Iterator[str]:
    """Yield the same profiles as CSV for reading. Raises NotFound, StorageFailed."""
    run, name = _kept(bridge, run_id)
    columns = (*_EXCLUDED_COLUMNS, id_words(run.matched_by).column)
    chunks = iterate_excluded(bridge.snapshots, name, reasons=reasons, search=clean_search(search))
    return spreadsheet.lines(columns, storage_errors_of(shown_row(row) for chunk in chunks for row in chunk))


def shown_row(row: ExcludedProfile) -> ExcludedProfile:
    """Format a profile without a distinct id by the place where it was read."""
    if not row.distinct_id.startswith("\x00"):
        return row
    page, _, number = row.distinct_id[1:].partition(":")
    return row._replace(distinct_id=f"(page {page}, row {number})")


def _kept(bridge: Bridge, run_id: int) -> tuple[Run, str]:
    run = runs.get(bridge.engine, run_id)
    if run is None or run.excluded is None:
        raise NotFound(
            "The profiles that this run excluded are not kept.",
            advice="They are kept of a cohort's latest export or preview in the browser: start one.",
        )
    _require_whole(bridge, run, run.excluded)
    return run, run.excluded


def _require_whole(bridge: Bridge, run: Run, name: str) -> None:
    """Check that the file has as many profiles as made no member; asked once while it is as it is."""
    snapshots = bridge.snapshots
    stamp = snapshots.stamp(name)
    if stamp is None or snapshots.counted.holds(name, stamp):
        return  # what is gone says so when it is read
    try:
        excluded = count_excluded(snapshots, name)
        # Without somebody who was forgotten it has a number of its own.
        is_whole = excluded in (run.profiles - run.members, proofs.members_of(bridge.engine, name))
    except MembersDamaged:
        is_whole = False
    if not is_whole:
        raise StorageFailed(
            "The file of the profiles that this run excluded is damaged.",
            advice="Export the cohort again, or preview it: that keeps them.",
        )
    snapshots.counted.put(name, stamp)
