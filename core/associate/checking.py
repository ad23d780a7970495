"""Check the file of an association: read its rows, and check them together."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from core.associate.held import HeldAssociation
from core.associate.rows import WARNINGS, read_rows
from core.associate.target import known_profiles
from core.bridge import Bridge
from core.errors import RunCancelled
from core.rules.matching import MAX_LENGTH, PREFIXES
from data.engine import StorageError
from data.members.association_check import CheckRules
from data.members.association_rows import ImportRows, ImportSummary, RawRow
from data.models import Association

# So many rows are read between two looks whether to stop.
_ROWS_A_LOOK = 5000
_TRIES = 3


class Checking:
    """The check of one association, to be run in a thread."""

    def __init__(self, bridge: Bridge, held_association: HeldAssociation, rows: ImportRows) -> None:
        self._bridge = bridge
        self._held = held_association
        self._rows = rows
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End the check at its next look: its thread continues when the task that waits for it is cancelled."""
        self._stopping.set()

    def run(self, association: Association) -> ImportSummary:
        """Read the rows if that was not done before, and check them.

        Raises: SettingsError when the file cannot be used, LeaseLost, RunCancelled, StorageError.
        """
        if self._rows.upload.is_file():
            with self._rows.upload.open("rb") as file:
                self._rows.keep(self._stoppable(read_rows(file, expects_prefix=association.expects_prefix)))
            self._rows.upload.unlink(missing_ok=True)
        rules = CheckRules(
            association.prefix,
            PREFIXES if association.expects_prefix else (),
            longest=MAX_LENGTH,
            accepted=(*association.accepted_problems, *WARNINGS),
        )
        return self._check(rules, association.project_id, _TRIES)

    def _check(self, rules: CheckRules, project_id: int, tries: int) -> ImportSummary:
        """Check the rows by what is known now; what a newer read has replaced meanwhile is asked for again."""
        known = known_profiles(self._bridge, project_id)
        try:
            return self._rows.check(rules, known, within=self._held.kept())
        except StorageError:
            if known.are_kept or tries <= 1:
                raise
            return self._check(rules, project_id, tries - 1)

    def _stoppable(self, rows: Iterable[RawRow]) -> Iterator[RawRow]:
        for number, row in enumerate(rows):
            if number % _ROWS_A_LOOK == 0 and self._stopping.is_set():
                raise RunCancelled("The check was stopped.")
            yield row
