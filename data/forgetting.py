"""What the database keeps of a person whose ids are forgotten: which files it names, and what it says of rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, bindparam, update
from sqlalchemy.orm import load_only
from sqlmodel import Session, col, delete, select

from data import doubt, leases, proofs
from data.associations import NOT_REPORTED, check_values
from data.audit import chain
from data.audit.scope import Scope
from data.engine import read_session, write_session
from data.members.association_rows import ImportSummary
from data.members.proof import Proof
from data.models import (
    Association,
    AssociationBatch,
    Connection,
    ConnectionKind,
    DoubtCause,
    Group,
    ImportStage,
    LeaseKind,
    Run,
    RunStatus,
)
from data.proof_models import SnapshotProof, TriedDelivery, Untraced

# All that is kept has one such lease.
ALL = "all"
# What stands in place of a reason of Mixpanel's that names a person.
NOT_KEPT = "Mixpanel's reason is not kept: it named somebody who was forgotten."
# What stands in place of a person's note that names somebody.
NOTE_NOT_KEPT = "Not kept: it named somebody who was forgotten."
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class Rewritten:
    """A file of members that was written again, under another name; `new` None: it could not be, and is removed."""

    old: str
    new: str | None
    proof: Proof | None = None


@dataclass(frozen=True)
class Forgotten:
    """What is forgotten of a person: the files that take the place of others, and what changes of associations."""

    ids: Sequence[str]
    files: Sequence[Rewritten] = ()
    rows: Mapping[int, Collection[int]] = field(default_factory=dict[int, Collection[int]])  # by association
    checked: Mapping[int, ImportSummary] = field(default_factory=dict[int, ImportSummary])  # as those are now
    unusable: Collection[int] = ()  # associations whose file was removed before it could be read
    bundles: Mapping[int, str] = field(default_factory=dict[int, str])  # of associations, in place of others


@dataclass(frozen=True)
class InDoubt:
    """How many groups are in doubt for it, and how many of them a person has to let through."""

    groups: int = 0
    only_adding: int = 0


def list_running(engine: Engine) -> list[str]:
    """Return what reads people at this moment, by kind: runs and associations."""
    with read_session(engine) as session:
        runs = session.exec(select(Run.id).where(Run.status == RunStatus.RUNNING)).all()
        working = (ImportStage.CHECKING, ImportStage.WRITING)
        imports = session.exec(select(Association.id).where(col(Association.stage).in_(working))).all()
    return [*(f"run {number}" for number in runs), *(f"association {number}" for number in imports)]


def record(
    engine: Engine,
    forgotten: Forgotten,
    *,
    lease_owner: str,
    scope: Scope,
    describe: Callable[[InDoubt], dict[str, Any]],
) -> InDoubt | None:
    """Record in one transaction what was forgotten, with its line in the audit log; None when the lease was lost.

    Groups that may hold the person are in doubt from then on. `describe` makes what the line says.
    """
    with write_session(engine) as session:
        if not leases.hold(session, LeaseKind.FORGETTING, ALL, lease_owner=lease_owner):
            return None
        names = {file.old: file for file in forgotten.files}
        in_doubt = _put_in_doubt(session, names)
        _rename(session, names)
        for number, rows in forgotten.rows.items():
            _forget_rows(session, number, rows)
        _forget_reasons(session, forgotten.ids)
        _forget_notes(session, forgotten.ids)
        for number, summary in forgotten.checked.items():
            session.exec(update(Association).where(col(Association.id) == number).values(**check_values(summary)))
        for number, bundle in forgotten.bundles.items():
            session.exec(update(Association).where(col(Association.id) == number).values(bundle=bundle))
        _end_unusable(session, forgotten.unusable)
        chain.append(session, scope, subject="a person", after={"a person": describe(in_doubt)})
        return in_doubt


def _put_in_doubt(session: Session, names: Mapping[str, Rewritten]) -> InDoubt:
    """Put the groups in doubt that were given the person last, or whose deliveries began with them."""
    tried = {row.group_id for row in session.exec(select(TriedDelivery)).all() if row.snapshot in names}
    bases = session.exec(select(Group.id, Group.base_snapshot)).all()
    ids = [number for number, base in bases if number is not None and (base in names or number in tried)]
    for some in _parts(ids):
        doubt.put_in_doubt(session, col(Group.id).in_(some), cause=DoubtCause.FORGOTTEN, untraced=Untraced.FORGOTTEN)
    adding = select(Group.id).where(
        col(Group.destination_id) == col(Connection.id),
        Connection.kind == ConnectionKind.ENDPOINT,
        col(Connection.adds_only),
        col(Connection.removed).is_(False),
    )
    return InDoubt(len(ids), len(set(ids) & {number for number in session.exec(adding).all() if number is not None}))


def _rename(session: Session, names: Mapping[str, Rewritten]) -> None:
    """Have rows name the new files, with the proofs of those; sums in which the person is are kept no longer."""
    if not names:
        return
    new = {old: file.new for old, file in names.items() if file.new is not None}
    groups = _rename_in_runs(session, names, new)
    for some in _parts(sorted(groups)):
        session.exec(update(Run).where(col(Run.group_id).in_(some)).values(fingerprint=None))
    for group in session.exec(select(Group).where(col(Group.base_snapshot).is_not(None))).all():
        if group.base_snapshot in new:
            values = {"base_snapshot": new[group.base_snapshot]}
            session.exec(update(Group).where(col(Group.id) == group.id).values(**values))
    for tried in session.exec(select(TriedDelivery)).all():
        if tried.snapshot in new:
            row = (col(TriedDelivery.group_id) == tried.group_id, col(TriedDelivery.snapshot) == tried.snapshot)
            session.exec(update(TriedDelivery).where(*row).values(snapshot=new[tried.snapshot]))
    for some in _parts(list(names)):
        session.exec(delete(SnapshotProof).where(col(SnapshotProof.name).in_(some)))
    for file in names.values():
        if file.new is not None and file.proof is not None:
            proofs.keep(session, file.new, file.proof)


def _rename_in_runs(session: Session, names: Mapping[str, Rewritten], new: Mapping[str, str]) -> set[int]:
    """Have runs name the new files, in one pass over all of them; returns the groups of those that named any."""
    loaded = load_only(*(getattr(Run, name) for name in ("id", "group_id", *proofs.RUN_FILES)))
    rows = select(Run).options(loaded).execution_options(yield_per=_ROWS_AT_ONCE, populate_existing=True)
    groups, changes = set[int](), list[dict[str, Any]]()
    for run in session.exec(rows):
        named: dict[str, str | None] = {name: getattr(run, name) for name in proofs.RUN_FILES}
        if any(name in names for name in named.values()):
            groups.add(run.group_id)
            renamed = {f"new_{column}": new.get(name or "", name) for column, name in named.items()}
            changes.append({"number": run.id, **renamed})
    statement: Any = update(Run).where(col(Run.id) == bindparam("number"))
    statement = statement.values({name: bindparam(f"new_{name}") for name in proofs.RUN_FILES})
    for some in _parts(changes):
        session.connection().execute(statement, some)
    return groups


def _forget_rows(session: Session, association_id: int, rows: Collection[int]) -> None:
    """Forget what Mixpanel answered of rows that are not kept any more."""
    gone = {str(row) for row in rows}
    _change_reasons(
        session,
        lambda reasons: {row: reason for row, reason in reasons.items() if row not in gone},
        AssociationBatch.association_id == association_id,
    )


def _forget_reasons(session: Session, ids: Sequence[str]) -> None:
    """Forget reasons of Mixpanel's, of whichever rows, that hold one of these ids."""
    _change_reasons(session, lambda reasons: {row: _without(reason, ids) for row, reason in reasons.items()})


def _forget_notes(session: Session, ids: Sequence[str]) -> None:
    """Forget what was written of held runs where it holds one of these ids."""
    noted = session.exec(select(Run.id, Run.decision_note).where(col(Run.decision_note).is_not(None))).all()
    named = [number for number, note in noted if note and any(user_id in note for user_id in ids)]
    for some in _parts(named):
        session.exec(update(Run).where(col(Run.id).in_(some)).values(decision_note=NOTE_NOT_KEPT))


def _without(reason: str, ids: Sequence[str]) -> str:
    is_ours = reason in (NOT_REPORTED, NOT_KEPT)
    return NOT_KEPT if not is_ours and any(user_id in reason for user_id in ids) else reason


def _change_reasons(session: Session, change: Callable[[dict[str, str]], dict[str, str]], *where: Any) -> None:
    """Change the reasons of batches; those of a few are in memory, and of those that change all."""
    batches = select(AssociationBatch).where(*where).execution_options(yield_per=_ROWS_AT_ONCE, populate_existing=True)
    changed = list[tuple[int, int, dict[str, dict[str, str]]]]()
    for batch in session.exec(batches):
        kept = {"refused": change(batch.refused), "unaliased": change(batch.unaliased)}
        if kept != {"refused": batch.refused, "unaliased": batch.unaliased}:
            changed.append((batch.association_id, batch.start, kept))
    for number, start, kept in changed:
        own = (col(AssociationBatch.association_id) == number, col(AssociationBatch.start) == start)
        own_update = update(AssociationBatch).where(*own).values(**kept)
        session.exec(own_update.execution_options(synchronize_session=False))


def _end_unusable(session: Session, associations: Collection[int]) -> None:
    """End associations whose file held the person, and could not be read as one."""
    for number in associations:
        session.exec(
            update(Association)
            .where(col(Association.id) == number, col(Association.stage) == ImportStage.TO_CHECK)
            .values(
                stage=ImportStage.FAILED,
                error_code="file_not_kept",
                error_message="The file could not be read, and is not kept any more.",
                error_advice="Start with the file again.",
            )
        )


def _parts(values: Sequence[Any]) -> list[Sequence[Any]]:
    return [values[start : start + _ROWS_AT_ONCE] for start in range(0, len(values), _ROWS_AT_ONCE)]
