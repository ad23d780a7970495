"""The shared list of a project's cohorts, as last read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from data.engine import Engine, read_session, write_session
from data.models import CohortList


def get(engine: Engine, project: str) -> CohortList | None:
    """Return the list, whatever its age; None before it is first read."""
    with read_session(engine) as session:
        return session.get(CohortList, project)


def share(engine: Engine, project: str, cohorts: Sequence[dict[str, Any]], *, now: datetime) -> None:
    """Put the list that was read now in place of the one before."""
    with write_session(engine) as session:
        shared = session.get(CohortList, project) or CohortList(project=project, read_at=now, cohorts=[])
        shared.read_at, shared.cohorts = now, list(cohorts)
        session.add(shared)
