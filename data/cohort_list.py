"""The shared list of a project's cohorts, as last read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from data.engine import Engine, read_session, write_session
from data.models import CohortList


@dataclass(frozen=True)
class SharedCohorts:
    """A list that was read: its cohorts, and how many of its entries could not be taken."""

    read_at: datetime
    cohorts: list[dict[str, Any]]
    left_out: int


def get(engine: Engine, project: str) -> SharedCohorts | None:
    """Return the list, whatever its age; None before it is first read."""
    with read_session(engine) as session:
        shared = session.get(CohortList, project)
        if shared is None:
            return None
        if isinstance(shared.cohorts, list):  # kept by an earlier version, which left none out
            return SharedCohorts(shared.read_at, shared.cohorts, 0)
        return SharedCohorts(shared.read_at, shared.cohorts["taken"], shared.cohorts["left_out"])


def share(engine: Engine, project: str, cohorts: Sequence[dict[str, Any]], *, now: datetime, left_out: int = 0) -> None:
    """Put the list that was read now in place of the one before."""
    with write_session(engine) as session:
        shared = session.get(CohortList, project) or CohortList(project=project, read_at=now, cohorts={})
        shared.read_at, shared.cohorts = now, {"taken": list(cohorts), "left_out": left_out}
        session.add(shared)
