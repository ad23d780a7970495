"""Groups."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, func
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from data import receivers
from data.engine import Engine, read_session, write_session
from data.models import Connection, DoubtCause, Group, Run, Sync, SyncKind, SyncState
from data.repeating import repeated


class NameTaken(Exception):
    """Another cohort's group at the same destination has the name."""

    def __init__(self, name: str, cohort_id: int) -> None:
        super().__init__(f"The name {name} is taken by cohort {cohort_id}.")
        self.name = name
        self.cohort_id = cohort_id


def list_groups(engine: Engine, *, only: int | None = None) -> list[Group]:
    """List the groups that were delivered at least once, by id, or only the one of an id."""
    query = select(Group).where(col(Group.delivered_at).is_not(None)).order_by(col(Group.id))
    with read_session(engine) as session:
        return list(session.exec(query if only is None else query.where(Group.id == only)).all())


def get_several(engine: Engine, group_ids: Sequence[int]) -> dict[int, Group]:
    """Return these groups by id; unknown ones are left out."""
    with read_session(engine) as session:
        return {group.id or 0: group for group in session.exec(select(Group).where(col(Group.id).in_(group_ids)))}


def list_delivered(engine: Engine, *, after: int, limit: int) -> list[tuple[Group, str]]:
    """List so many groups that were delivered, from those after an id, each with the name of its destination, by id."""
    query = (
        select(Group, Connection.name)
        .where(
            col(Group.destination_id) == col(Connection.id),
            col(Group.delivered_at).is_not(None),
            col(Group.id) > after,
        )
        .order_by(col(Group.id))
        .limit(limit)
    )
    with read_session(engine) as session:
        return list(session.exec(query).all())


def list_with_destination(engine: Engine, *, only: Sequence[int] | None = None) -> list[tuple[Group, str]]:
    """List groups, delivered or not, with the name of their destination, by name: all, or those of these ids."""
    query = (
        select(Group, Connection.name)
        .where(col(Group.destination_id) == col(Connection.id))
        .order_by(col(Group.name), col(Group.id))
    )
    with read_session(engine) as session:
        return list(session.exec(query if only is None else query.where(col(Group.id).in_(only))).all())


def list_of_cohort(engine: Engine, project_id: int, cohort_id: int) -> list[Group]:
    """List the groups that a cohort of a project has, those too that were never delivered, by name."""
    query = select(Group).where(Group.project_id == project_id, Group.cohort_id == cohort_id)
    with read_session(engine) as session:
        return list(session.exec(query.order_by(col(Group.name), col(Group.id))).all())


def list_only_adding(engine: Engine) -> set[int]:
    """Return the groups whose receivers only add, by id."""
    query = select(Group.id).where(col(Group.destination_id) == col(Connection.id), col(Connection.adds_only))
    with read_session(engine) as session:
        return {group_id for group_id in session.exec(query).all() if group_id is not None}


def list_in_doubt(engine: Engine, cause: DoubtCause) -> list[tuple[Group, str, bool]]:
    """List the groups that are in doubt for this cause, by name, each with its destination, and whether an active
    sync is going to write it. Groups of a destination that was removed are left out: nothing writes them.
    """
    active = select(Sync.id).where(
        col(Sync.group_id) == col(Group.id), Sync.kind == SyncKind.RECURRING, Sync.state == SyncState.ACTIVE
    )
    query = (
        select(Group, Connection.name, active.exists())
        .where(
            col(Group.destination_id) == col(Connection.id),
            col(Connection.removed).is_(False),
            col(Group.in_doubt),
            col(Group.doubt_cause) == cause,
        )
        .order_by(col(Group.name), col(Group.id))
    )
    with read_session(engine) as session:
        return list(session.exec(query).all())


def get_group(engine: Engine, group_id: int) -> Group | None:
    """Return a group, None if unknown."""
    with read_session(engine) as session:
        return session.get(Group, group_id)


def is_called(engine: Engine, run: Run, group: Group, cohort_name: str) -> bool:
    """Return whether a run and its group, as they were loaded, follow a cohort's name already, and no other has it.

    A preview has its names for itself: those of the group do not matter. Raises: NameTaken.
    """
    other = aliased(Group)
    previewed = _own_name_of_preview(run) or cohort_name
    called = previewed if run.dry_run else func.coalesce(func.nullif(col(Group.own_name), ""), cohort_name)
    elsewhere = select(other.id).where(other.name == called, other.id != Group.id, _may_exist(other)).exists()
    query = select(Group.cohort_name, Group.name, Group.own_name, elsewhere).where(Group.id == group.id)
    with read_session(engine) as session:
        *now, own_name, is_elsewhere = session.exec(query).one()
        name = previewed if run.dry_run else own_name or cohort_name
        if is_elsewhere:  # perhaps at another receiver
            require_free_name(session, group, name)
    followed = [cohort_name, name]
    if followed != [run.cohort_name, run.group_name]:
        return False
    return run.dry_run or now == followed == [group.cohort_name, group.name]


@repeated
def follow_cohort_name(engine: Engine, run_id: int, cohort_name: str) -> tuple[Run, Group]:
    """Note the present name of a run's cohort; a group without its own name is called the same, but for a preview's.

    Raises: NameTaken, and notes nothing.
    """
    with write_session(engine) as session:
        run = session.get_one(Run, run_id)
        group = session.get_one(Group, run.group_id)
        name = (_own_name_of_preview(run) if run.dry_run else group.own_name) or cohort_name
        require_free_name(session, group, name)
        run.cohort_name, run.group_name = cohort_name, name
        if not run.dry_run:
            group.cohort_name, group.name = cohort_name, name
        session.add_all([group, run])
        session.flush()
    return run, group


def _own_name_of_preview(run: Run) -> str | None:
    """Return the name that a preview has in view, None where that is its cohort's, whichever that is by now."""
    return None if run.group_name == run.cohort_name else run.group_name


def require_free_name(session: Session, group: Group, name: str) -> None:
    """Check that no other cohort's group at the same receiver has a name. Raises NameTaken."""
    destination = session.get_one(Connection, group.destination_id)
    ids = [group.destination_id, *(twin.id for twin in receivers.list_twins(session, destination))]
    cohort_id = session.exec(
        select(Group.cohort_id).where(
            col(Group.destination_id).in_(ids),
            Group.name == name,
            col(Group.id) != group.id,
            _may_exist(Group),
        )
    ).first()
    if cohort_id is not None:
        raise NameTaken(name, cohort_id)


def _may_exist(group: type[Group]) -> ColumnElement[bool]:
    """Build the condition that something was, or may have been, delivered to a group."""
    return col(group.delivered_at).is_not(None) | col(group.in_doubt)
