"""Associating users by hand: what people start, look at, confirm and stop. A worker checks and writes."""

from __future__ import annotations

import csv
import io
import secrets
import shutil
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from core.access.roles import Actor, Role, action
from core.associate import bundles
from core.associate.files import import_rows, outcome_lines
from core.associate.rows import ACCEPTABLE
from core.associate.target import aliases_ids, connection_to_write, property_to_set
from core.bridge import Bridge
from core.connections.lookup import find_mixpanel
from core.connections.project import match_rule
from core.errors import NotFound, SettingsError, StorageFailed
from core.files import replacing
from core.rules.matching import APPTIMIZE_PROPERTY, MAX_LENGTH, PREFIXES
from core.text import LONGEST_USER_ID, clean_search, shown
from core.validation import clean_line
from data import associations
from data.associations import AcceptedChoice, Choice, Move, PrefixChoice, Refusal
from data.members.association_rows import PlannedRow, RowFilter
from data.members.files import flush_to_disk, make_folder, replace_folder
from data.models import Association, Connection, ImportStage

# More than a million rows of ordinary ids.
_MOST_BYTES = 512 * 2**20
_CHUNK = 2**20
AS_THEY_ARE = ""


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
    accepted: Collection[str] = (),
    mixpanel: str | None = None,
    lease_owner: str | None = None,
) -> Association:
    """Keep a CSV with the columns `distinct_id` and `apptimize_id`, and queue it to be checked; nothing is written yet.

    `mixpanel` names the connection to its project, where there are several. With a `lease_owner` no other process
    takes it: that process does it itself. Raises: NotConnected, SettingsError.
    """
    connection = find_mixpanel(bridge, mixpanel)
    assert connection.id is not None
    association = Association(
        mixpanel_id=connection.id,
        project_id=connection.project_id,
        actor=actor.name,
        source=clean_line(source, "File")[:255] if source else "",
        expects_prefix=_expects_prefix(connection),
        match_property=property_to_set(match_rule(connection)),
        aliases=aliases_ids(connection),
        prefix=_known_prefix(prefix),
        accepted=" ".join(_known_problems(accepted)),
        created_at=bridge.clock.now(),
    )
    with _uploaded(bridge, file) as folder:
        if bundles.are_used(bridge):
            association.bundle = bundles.keep_folder(bridge, folder)
        bundle = association.bundle
        return associations.add(
            bridge.engine,
            association,
            before_commit=lambda number: replace_folder(folder, bundles.folder_of(bridge, number, bundle)),
            lease_owner=lease_owner,
            now=bridge.clock.now(),
        )


@contextmanager
def _uploaded(bridge: Bridge, file: IO[bytes]) -> Generator[Path]:
    """Give a folder with a copy of the file, which is removed unless it was put in its place inside."""
    folder = bridge.settings.associations
    make_folder(folder)
    part = folder / f".{secrets.token_hex(8)}.part"
    try:
        part.mkdir(mode=0o700)
        _copy(file, part / "upload.csv")
        flush_to_disk(part / "upload.csv")  # here, and not while the database is locked
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _copy(file: IO[bytes], target: Path) -> None:
    size = 0
    with target.open("wb") as copy:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            if size > _MOST_BYTES:
                raise SettingsError(f"File: it is larger than {_MOST_BYTES // 2**20} MB.", advice="Split it.")
            copy.write(chunk)


@action(Role.ANALYST)
def associate_one(
    bridge: Bridge,
    actor: Actor,
    *,
    distinct_id: str,
    apptimize_id: str,
    mixpanel: str | None = None,
    lease_owner: str | None = None,
) -> Association:
    """Queue one user to be checked, as a file of one row. Raises: NotConnected, SettingsError naming the field."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["distinct_id", "apptimize_id"])
    rows.writerow(
        [
            clean_line(distinct_id, "Distinct id", most=LONGEST_USER_ID),
            clean_line(apptimize_id, "Apptimize id", most=MAX_LENGTH),
        ]
    )
    file = io.BytesIO(text.getvalue().encode())
    return start_association(bridge, actor, file, mixpanel=mixpanel, lease_owner=lease_owner)


@action(Role.ANALYST)
def choose_prefix(
    bridge: Bridge, actor: Actor, association_id: int, prefix: str | None, *, lease_owner: str | None = None
) -> Association:
    """Have the rows checked again, with this prefix for ids without one.

    It is `i_` or `a_`, empty to write them as they are, None to exclude their rows.

    Raises: NotFound, SettingsError.
    """
    return _check_again(bridge, association_id, PrefixChoice(_known_prefix(prefix)), lease_owner)


@action(Role.ANALYST)
def accept_problems(
    bridge: Bridge, actor: Actor, association_id: int, accepted: Collection[str], *, lease_owner: str | None = None
) -> Association:
    """Have the rows checked again, and those written that have no other problem than these, of `ACCEPTABLE`.

    Raises: NotFound, SettingsError.
    """
    return _check_again(bridge, association_id, AcceptedChoice(_known_problems(accepted)), lease_owner)


def _check_again(bridge: Bridge, association_id: int, choice: Choice, lease_owner: str | None) -> Association:
    move = associations.check_again(
        bridge.engine, association_id, choice, lease_owner=lease_owner, now=bridge.clock.now()
    )
    return _moved(association_id, move)


def _known_problems(accepted: Collection[str]) -> list[str]:
    """Return the problems in the order in which they are kept."""
    for problem in accepted:
        if problem not in ACCEPTABLE:
            raise SettingsError(f"Accept: {shown(problem, most=40)} is none of {', '.join(ACCEPTABLE)}.")
    return [problem for problem in ACCEPTABLE if problem in accepted]


def _known_prefix(prefix: str | None) -> str | None:
    if prefix not in (None, AS_THEY_ARE, *PREFIXES):
        raise SettingsError("Prefix: choose i_ or a_.")
    return prefix


@action(Role.ANALYST)
def confirm_association(
    bridge: Bridge,
    actor: Actor,
    association_id: int,
    *,
    seen: Association | None = None,
    lease_owner: str | None = None,
) -> Association:
    """Let what was checked be written, by a worker or by the `lease_owner`.

    With the association as it was `seen`, what was chosen and its number of rows to write must be the same still.

    Raises: NotFound, SettingsError, NotConnected when there is no project token to write with.
    """
    association = get_association(bridge, actor, association_id)
    connection_to_write(bridge, association)
    if association.stage == ImportStage.CHECKED and not association.writable:
        raise SettingsError("File: no row can be written.", advice="The reasons are in the list of rows: correct them.")
    move = associations.confirm(
        bridge.engine,
        association_id,
        seen=seen or association,
        confirmed_by=actor.name,
        lease_owner=lease_owner,
        now=bridge.clock.now(),
    )
    return _moved(association_id, move)


@action(Role.ANALYST)
def resume_association(
    bridge: Bridge, actor: Actor, association_id: int, *, lease_owner: str | None = None
) -> Association:
    """Resume one that failed or was cancelled, or whose process ended, from the first row without an outcome.

    Raises: NotFound, SettingsError, NotConnected.
    """
    association = get_association(bridge, actor, association_id)
    connection_to_write(bridge, association)
    if not association.confirmed_by:
        raise SettingsError(f"Association {association_id} was not confirmed.", advice="Start with the file again.")
    move = associations.resume(bridge.engine, association_id, lease_owner=lease_owner, now=bridge.clock.now())
    return _moved(association_id, move)


def _moved(association_id: int, move: Move) -> Association:
    """Return the association that was moved to another stage, or raise why it was not."""
    if move.association is None:
        raise _unknown(association_id)
    if move.refusal is Refusal.CHECKED_AGAIN:
        raise SettingsError(
            f"Association {association_id} was checked again meanwhile, and what would be written is another now.",
            advice="Look at it again, then confirm.",
        )
    if move.refusal is Refusal.OTHER_STAGE:
        raise SettingsError(
            f"Association {association_id} is not there any more: {move.association.stage}.", advice="Reload the page."
        )
    return move.association


@action(Role.ANALYST)
def cancel_association(bridge: Bridge, actor: Actor, association_id: int) -> Association:
    """Stop an association: at once while no process holds it, after its batch while it is written. Raises NotFound."""
    move = associations.cancel(bridge.engine, association_id, now=bridge.clock.now())
    if move.association is None:
        raise _unknown(association_id)
    if move.refusal:
        raise SettingsError(f"Association {association_id} has ended already.", advice="There is nothing to cancel.")
    return move.association


@action(Role.ANALYST)
def get_association(bridge: Bridge, actor: Actor, association_id: int) -> Association:
    """Return an association. Raises NotFound."""
    association = associations.get(bridge.engine, association_id)
    if association is None:
        raise _unknown(association_id)
    return association


@action(Role.ANALYST)
def list_associations(bridge: Bridge, actor: Actor, *, limit: int = 20) -> list[Association]:
    """List associations, newest first."""
    return associations.list_newest(bridge.engine, limit=limit)


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
    warned: bool = False,
    search: str = "",
    offset: int = 0,
    limit: int = 50,
) -> PlannedPage:
    """Page through the rows that will be written, those of them with a warning, or those that will not be written.

    Raises: NotFound, StorageFailed.
    """
    rows = import_rows(bridge, association_id)
    if not rows.has_plan:
        raise NotFound("The rows of this association are not kept.", advice="Start with the file again.")
    which = RowFilter(problems, writable, warned, clean_search(search))
    return PlannedPage(rows.planned(which, offset=offset, limit=limit), rows.count(which))


@action(Role.ANALYST)
def association_outcomes(bridge: Bridge, actor: Actor, association_id: int) -> Iterator[str]:
    """Yield the outcome of every row as CSV for reading. Raises NotFound, StorageFailed."""
    association = get_association(bridge, actor, association_id)
    rows = import_rows(bridge, association_id)
    if not rows.has_plan:
        raise NotFound("The rows of this association are not kept.", advice="Start with the file again.")
    if association.stage in associations.ENDED and rows.outcomes.is_file():
        return _saved(rows.outcomes)
    return outcome_lines(bridge, association_id)


@action(Role.ANALYST)
def save_outcomes(bridge: Bridge, actor: Actor, association_id: int, target: Path) -> None:
    """Write the outcome of every row to a file, whole or not at all. Raises: NotFound, StorageFailed."""
    lines = association_outcomes(bridge, actor, association_id)
    try:
        make_folder(target.parent)
        with replacing(target) as file:
            file.writelines(line.encode() for line in lines)
    except OSError as exc:
        raise StorageFailed(
            f"The outcomes could not be written to {target}: {exc.strerror}.", advice="Choose another file."
        ) from exc


def _saved(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from file


def _unknown(association_id: int) -> NotFound:
    return NotFound(f"There is no association {association_id}.", advice="See the list on the Matching page.")
