"""Associating users by hand: what people start, look at, confirm and stop. A worker checks and writes."""

from __future__ import annotations

import csv
import io
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO

from sqlalchemy import ColumnElement
from sqlmodel import col, select, update

from core.access.roles import Actor, Role, action
from core.associate.files import import_rows, outcome_lines
from core.associate.target import aliases_ids, connection_to_write, property_to_set
from core.bridge import Bridge
from core.connections.lookup import find_mixpanel
from core.connections.project import match_rule
from core.errors import NotFound, SettingsError, StorageFailed
from core.rules.matching import APPTIMIZE_PROPERTY, PREFIXES
from core.validation import clean_line
from data import associations
from data.associations import UNFINISHED as UNFINISHED  # the stages that a page waits for
from data.engine import read_session, write_session
from data.members.association_rows import PlannedRow
from data.members.files import replacing
from data.models import Association, Connection, ImportStage, utc_now

# More than a million rows of ordinary ids.
MOST_BYTES = 512 * 2**20
_CHUNK = 2**20
_KEPT_FOR = timedelta(days=30)
AS_THEY_ARE = ""
_ENDED = (ImportStage.DONE, ImportStage.FAILED, ImportStage.CANCELLED)


@dataclass(frozen=True)
class PlannedPage:
    """A page of a plan's rows, and how many there are in all."""

    rows: list[PlannedRow]
    total: int


def _expects_prefix(connection: Connection) -> bool:
    if connection.expects_prefix is not None:
        return connection.expects_prefix
    return property_to_set(match_rule(connection)) == APPTIMIZE_PROPERTY


@action(Role.ANALYST)
def start_association(
    bridge: Bridge,
    actor: Actor,
    file: IO[bytes],
    *,
    source: str = "",
    prefix: str | None = None,
    owner: str | None = None,
) -> Association:
    """Keep a CSV with the columns `distinct_id` and `apptimize_id`, and queue it to be checked; nothing is written yet.

    With an `owner` it is nobody else's to take: that process does it itself. Raises: NotConnected, SettingsError.
    """
    connection = find_mixpanel(bridge)
    assert connection.id is not None
    folder = bridge.settings.home / "associations"
    folder.mkdir(parents=True, exist_ok=True)
    coming = folder / f".{secrets.token_hex(8)}.part"
    try:
        coming.mkdir(mode=0o700)
        _copy(file, coming / "upload.csv")
        with write_session(bridge.engine) as session:
            found = Association(
                mixpanel_id=connection.id,
                project_id=connection.project_id,
                actor=actor.name,
                source=clean_line(source, "File")[:255] if source else "",
                expects_prefix=_expects_prefix(connection),
                match_property=property_to_set(match_rule(connection)),
                aliases=aliases_ids(connection),
                prefix=_known_prefix(prefix),
                owner=owner,
            )
            session.add(found)
            session.flush()
            assert found.id is not None
            # Before the commit: a worker that sees the row must find the file.
            place = import_rows(bridge, found.id).folder
            shutil.rmtree(place, ignore_errors=True)
            coming.replace(place)
    finally:
        shutil.rmtree(coming, ignore_errors=True)
    return found


def _copy(file: IO[bytes], target: Path) -> None:
    size = 0
    with target.open("wb") as copy:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            if size > MOST_BYTES:
                raise SettingsError(f"File: it is larger than {MOST_BYTES // 2**20} MB.", advice="Split it.")
            copy.write(chunk)


@action(Role.ANALYST)
def associate_one(
    bridge: Bridge, actor: Actor, *, distinct_id: str, apptimize_id: str, owner: str | None = None
) -> Association:
    """Queue one user to be checked, as a file of one row. Raises: NotConnected, SettingsError naming the field."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["distinct_id", "apptimize_id"])
    rows.writerow(
        [clean_line(distinct_id, "Distinct id", most=1024), clean_line(apptimize_id, "Apptimize id", most=256)]
    )
    return start_association(bridge, actor, io.BytesIO(text.getvalue().encode()), owner=owner)


@action(Role.ANALYST)
def choose_prefix(
    bridge: Bridge, actor: Actor, association_id: int, prefix: str | None, *, owner: str | None = None
) -> Association:
    """Have the rows judged again, with this prefix for ids without one.

    It is `i_` or `a_`, empty to write them as they are, None to leave their rows out.

    Raises: NotFound, SettingsError.
    """
    return _move(
        bridge, association_id, (ImportStage.CHECKED,), ImportStage.TO_CHECK, owner=owner, prefix=_known_prefix(prefix)
    )


def _known_prefix(prefix: str | None) -> str | None:
    if prefix not in (None, AS_THEY_ARE, *PREFIXES):
        raise SettingsError("Prefix: choose i_ or a_.")
    return prefix


@action(Role.ANALYST)
def confirm_association(
    bridge: Bridge, actor: Actor, association_id: int, *, seen: Association | None = None, owner: str | None = None
) -> Association:
    """Let what was checked be written, by a worker or by the `owner`.

    With the association as it was `seen`, its prefix and its number of rows to write must be the same still.

    Raises: NotFound, SettingsError, NotConnected when there is no project token to write with.
    """
    found = get_association(bridge, actor, association_id)
    connection_to_write(bridge, found)
    if found.stage == ImportStage.CHECKED and not found.writable:
        raise SettingsError("File: no row can be written.", advice="The reasons are in the list of rows: correct them.")
    seen = seen or found
    return _move(
        bridge,
        association_id,
        (ImportStage.CHECKED,),
        ImportStage.TO_WRITE,
        owner=owner,
        only_if=(col(Association.prefix).is_not_distinct_from(seen.prefix), col(Association.writable) == seen.writable),
        confirmed_by=actor.name,
    )


@action(Role.ANALYST)
def resume_association(bridge: Bridge, actor: Actor, association_id: int, *, owner: str | None = None) -> Association:
    """Go on with one that failed or was cancelled, or whose process ended, from the first row without an outcome.

    Raises: NotFound, SettingsError, NotConnected.
    """
    found = get_association(bridge, actor, association_id)
    connection_to_write(bridge, found)
    if not found.confirmed_by:
        raise SettingsError(f"Association {association_id} was not confirmed.", advice="Start with the file again.")
    return _move(
        bridge,
        association_id,
        (ImportStage.FAILED, ImportStage.CANCELLED, ImportStage.TO_WRITE),
        ImportStage.TO_WRITE,
        owner=owner,
        finished_at=None,
        interruptions=0,
        error_code=None,
        error_message=None,
        error_advice=None,
    )


def _move(
    bridge: Bridge,
    association_id: int,
    before: Sequence[ImportStage],
    after: ImportStage,
    *,
    owner: str | None,
    only_if: Sequence[ColumnElement[bool]] = (),
    **values: object,
) -> Association:
    with write_session(bridge.engine) as session:
        moved = session.exec(
            update(Association)
            .where(
                col(Association.id) == association_id,
                col(Association.stage).in_(before),
                col(Association.owner).is_(None) | (col(Association.owner) == owner),
                *only_if,
            )
            .values(stage=after, owner=owner, cancel_asked=False, **values)
        )
        found = session.get(Association, association_id, populate_existing=True)
        if found is None:
            raise _none(association_id)
        if moved.rowcount != 1 and found.stage in before and found.owner in (None, owner):
            raise SettingsError(
                f"Association {association_id} was checked again meanwhile, and what would be written is another now.",
                advice="Look at it again, then confirm.",
            )
        if moved.rowcount != 1:
            raise SettingsError(
                f"Association {association_id} is not there any more: {found.stage}.", advice="Reload the page."
            )
    return found


@action(Role.ANALYST)
def cancel_association(bridge: Bridge, actor: Actor, association_id: int) -> Association:
    """Stop an association: at once while nobody holds it, after its batch while it is written. Raises NotFound."""
    with write_session(bridge.engine) as session:
        found = session.get(Association, association_id)
        if found is None:
            raise _none(association_id)
        if found.stage in _ENDED:
            raise SettingsError(
                f"Association {association_id} has ended already.", advice="There is nothing to cancel."
            )
        if found.owner is None:
            found.stage, found.finished_at = ImportStage.CANCELLED, utc_now()
        else:
            found.cancel_asked = True
        session.add(found)
    return found


@action(Role.ANALYST)
def get_association(bridge: Bridge, actor: Actor, association_id: int) -> Association:
    """Return an association. Raises NotFound."""
    found = associations.get(bridge.engine, association_id)
    if found is None:
        raise _none(association_id)
    return found


@action(Role.ANALYST)
def list_associations(bridge: Bridge, actor: Actor, *, limit: int = 20) -> list[Association]:
    """List associations, newest first."""
    return associations.listed(bridge.engine, limit=limit)


@action(Role.ANALYST)
def has_plan(bridge: Bridge, actor: Actor, association_id: int) -> bool:
    """Return whether the rows of an association were checked and are still kept."""
    return import_rows(bridge, association_id).has_plan


@action(Role.ANALYST)
def planned_rows(
    bridge: Bridge,
    actor: Actor,
    association_id: int,
    *,
    problems: Sequence[str] = (),
    writable: bool = False,
    search: str = "",
    offset: int = 0,
    limit: int = 50,
) -> PlannedPage:
    """Page through the rows that will be written, or through those that will not. Raises NotFound, StorageFailed."""
    rows = import_rows(bridge, association_id)
    if not rows.has_plan:
        raise NotFound("The rows of this association are not kept.", advice="Start with the file again.")
    return PlannedPage(
        rows.planned(problems=problems, writable=writable, search=search, offset=offset, limit=limit),
        rows.count(problems=problems, writable=writable, search=search),
    )


@action(Role.ANALYST)
def association_outcomes(bridge: Bridge, actor: Actor, association_id: int) -> Iterator[str]:
    """Yield the outcome of every row as CSV for reading. Raises NotFound, StorageFailed."""
    found = get_association(bridge, actor, association_id)
    rows = import_rows(bridge, association_id)
    if not rows.has_plan:
        raise NotFound("The rows of this association are not kept.", advice="Start with the file again.")
    if found.stage in _ENDED and rows.outcomes.is_file():
        return _saved(rows.outcomes)
    return outcome_lines(bridge, association_id)


@action(Role.ANALYST)
def save_outcomes(bridge: Bridge, actor: Actor, association_id: int, target: Path) -> None:
    """Write the outcome of every row to a file, whole or not at all. Raises: NotFound, StorageFailed."""
    lines = association_outcomes(bridge, actor, association_id)
    try:
        with replacing(target) as part, part.open("w", encoding="utf-8", newline="") as file:
            file.writelines(lines)
    except OSError as exc:
        raise StorageFailed(
            f"The outcomes could not be written to {target}: {exc.strerror}.", advice="Choose another file."
        ) from exc


def _saved(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from file


def forget_old(bridge: Bridge) -> int:
    """Remove associations that ended, or were never confirmed, too long ago; returns how many."""
    before = utc_now() - _KEPT_FOR
    with read_session(bridge.engine) as session:
        query = select(Association.id).where(
            col(Association.stage).in_((*_ENDED, ImportStage.CHECKED)), Association.created_at < before
        )
        old = [one for one in session.exec(query.limit(20)).all() if one is not None]
    for number in old:
        associations.forget(bridge.engine, number)
        import_rows(bridge, number).remove()
    return len(old)


def _none(association_id: int) -> NotFound:
    return NotFound(f"There is no association {association_id}.", advice="See the list on the Matching page.")
