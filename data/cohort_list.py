"""The shared list of a project's cohorts, as last read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Text, cast
from sqlmodel import col, select

from data.engine import Engine, read_session, write_session
from data.locks import of_project
from data.query_models import CohortList
from data.repeating import repeated


@dataclass(frozen=True)
class SharedCohorts:
    """A list that was read: its cohorts, and how many of its entries could not be taken."""

    read_at: datetime
    cohorts: list[dict[str, Any]]
    left_out: int


# The lists that this process has decoded, by database and project, each with the text that it was decoded from: to
# decode a long one for each run costs more than all else that is read for it.
_decoded: dict[tuple[str, str], tuple[str, SharedCohorts]] = {}
_MOST_DECODED = 20


def get(engine: Engine, project: str) -> SharedCohorts | None:
    """Return the list, whatever its age; None before it is first read. Runs share its cohorts: nobody changes them."""
    key = (engine.url.render_as_string(), project)
    with read_session(engine) as session:
        query = select(CohortList.read_at, cast(col(CohortList.cohorts), Text)).where(CohortList.project == project)
        kept = session.exec(query).first()
        if kept is None:
            return None
        read_at, text = kept
        decoded = _decoded.get(key)
        if decoded is not None and decoded[0] == text:
            return replace(decoded[1], read_at=read_at)
        shared = _decode(session.get_one(CohortList, project))
    if len(_decoded) >= _MOST_DECODED:
        _decoded.clear()
    _decoded[key] = text, shared
    return shared


def _decode(row: CohortList) -> SharedCohorts:
    if isinstance(row.cohorts, list):  # kept by an earlier version, which left none out
        return SharedCohorts(row.read_at, row.cohorts, 0)
    return SharedCohorts(row.read_at, row.cohorts["taken"], row.cohorts["left_out"])


@repeated
def share(
    engine: Engine, project: str, cohorts: Sequence[dict[str, Any]], *, read_at: datetime, left_out: int = 0
) -> None:
    """Put a list that was read in place of the one before."""
    with write_session(engine, of_project(project)) as session:
        shared = session.get(CohortList, project) or CohortList(project=project, read_at=read_at, cohorts={})
        shared.read_at, shared.cohorts = read_at, {"taken": list(cohorts), "left_out": left_out}
        session.add(shared)
