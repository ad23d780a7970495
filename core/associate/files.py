"""What is kept of an association outside the database: its rows, and the outcome of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from core import spreadsheet
from core.associate import bundles, rows
from core.bridge import Bridge
from data import associations
from data.members.association_rows import ImportRows, PlannedRow
from data.models import AssociationBatch

_OUTCOME_COLUMNS = ("row", "distinct_id", "apptimize_id", "outcome", "reason")


def import_rows(bridge: Bridge, association_id: int) -> ImportRows:
    """Return where the rows of an association are kept; what lies elsewhere is fetched. Raises StorageError."""
    if bundles.are_used(bridge):
        return bundles.open_rows(bridge, association_id)
    return bundles.rows_here(bridge, association_id)


def outcome_lines(bridge: Bridge, association_id: int) -> Iterator[str]:
    """Yield the outcome of every row as CSV for reading; a chunk of rows and one of batches are in memory."""
    yield from spreadsheet.lines(_OUTCOME_COLUMNS, _outcomes(bridge, association_id))


def _outcomes(bridge: Bridge, association_id: int) -> Iterator[tuple[object, ...]]:
    association = associations.get(bridge.engine, association_id)
    recorded = _RecordedOutcomes(bridge, association_id, begun=association.begun if association else 0)
    for chunk in import_rows(bridge, association_id).iterate():
        for row in chunk:
            outcome, reason = recorded.outcome(row)
            yield row.row, row.member.distinct_id, row.member.apptimize_id, outcome, reason


@dataclass
class _RecordedOutcomes:
    """The batches that were recorded, walked through in step with the rows."""

    bridge: Bridge
    association_id: int
    begun: int
    _waiting: list[AssociationBatch] = field(default_factory=list[AssociationBatch])
    _asked: bool = False

    def outcome(self, row: PlannedRow) -> tuple[str, str]:
        if row.problem is not None:
            return "not written", rows.PROBLEMS.get(row.problem, row.problem)
        batch = self._batch(row.row)
        if batch is None and row.row <= self.begun:
            return "not confirmed", "It was sent and not answered: it may be written. Resuming sends it again."
        if batch is None:
            return "not reached", "Nothing was sent for this row."
        if reason := batch.refused.get(str(row.row)):
            return "refused", reason
        if (reason := batch.unaliased.get(str(row.row))) == associations.NOT_REPORTED:
            return "not confirmed", reason
        if reason:
            return "written, not aliased", reason
        return "written", ""

    def _batch(self, row: int) -> AssociationBatch | None:
        while self._waiting and self._waiting[0].end < row:
            self._waiting.pop(0)
        if not self._waiting and not self._asked:
            self._waiting = associations.list_batches(self.bridge.engine, self.association_id, after=row - 1)
            self._asked = not self._waiting  # there are no more
        first = self._waiting[0] if self._waiting else None
        return first if first and first.start <= row else None
