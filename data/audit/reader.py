"""The audit log, read: list it, page through it, and verify that no line was changed or removed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Engine, func
from sqlmodel import Session, col, select

from data import folded_search
from data.audit.anchor import read_anchor
from data.audit.chain import GAP, RESTORED, digest
from data.engine import read_session
from data.models import AuditEntry
from data.notes import Note, StoredNote

_PROBLEMS_SHOWN = 20
_CHUNK = 500
_MISSING_THERE = "The storage holds no {name}: whether the newest lines were removed cannot be known."


@dataclass(frozen=True)
class AuditFilter:
    """What to list of the log; everything by default."""

    who: str = ""
    action: str = ""
    outcome: str = ""
    text: str = ""  # part of the subject
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class AuditCheck:
    """The result of a check of the log. `head` is the newest line's `NUMBER:HASH`, to be noted somewhere safe.

    `notes` are the lines that report others which were not noted when they were added, or are in no line since a backup
    was restored: to be looked at.
    """

    entries: int
    head: str
    problems: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])

    @property
    def ok(self) -> bool:
        """Whether the log is whole."""
        return not self.problems


def list_entries(engine: Engine, which: AuditFilter, *, limit: int = 50, offset: int = 0) -> list[AuditEntry]:
    """List lines, newest first."""
    with read_session(engine) as session:
        query = select(AuditEntry).where(*_conditions(session, which)).order_by(col(AuditEntry.number).desc())
        return list(session.exec(query.limit(limit).offset(offset)).all())


def get_entry(engine: Engine, number: int) -> AuditEntry | None:
    """Return one line, None if there is none of that number."""
    with read_session(engine) as session:
        return session.get(AuditEntry, number)


def count_entries(engine: Engine, which: AuditFilter) -> int:
    """Count the lines that `list_entries` pages through."""
    with read_session(engine) as session:
        return session.exec(select(func.count()).select_from(AuditEntry).where(*_conditions(session, which))).one()


def iterate(engine: Engine, which: AuditFilter) -> Iterator[AuditEntry]:
    """Yield lines, oldest first, a few at a time."""
    last, conditions = 0, _exact_conditions(which)
    # Every line is read for the file: to look at it here costs less than a search of its own for each few.
    who, text = which.who.casefold(), which.text.casefold()
    while True:
        with read_session(engine) as session:
            query = select(AuditEntry).where(col(AuditEntry.number) > last, *conditions)
            entries = session.exec(query.order_by(col(AuditEntry.number)).limit(_CHUNK)).all()
        yield from (each for each in entries if who in each.who.casefold() and text in each.subject.casefold())
        if len(entries) < _CHUNK:
            return
        last = entries[-1].number


def list_actions(engine: Engine) -> list[str]:
    """List the actions that occur in the log."""
    with read_session(engine) as session:
        return list(session.exec(select(AuditEntry.action).distinct().order_by(col(AuditEntry.action))).all())


def _conditions(session: Session, which: AuditFilter) -> list[Any]:
    conditions = _exact_conditions(which)
    if which.who:
        conditions.append(folded_search.contains(session, which.who, AuditEntry.who))
    if which.text:
        conditions.append(folded_search.contains(session, which.text, AuditEntry.subject))
    return conditions


def _exact_conditions(which: AuditFilter) -> list[Any]:
    """Build the conditions of all but what is searched for."""
    conditions = list[Any]()
    if which.action:
        conditions.append(col(AuditEntry.action) == which.action)
    if which.outcome:
        conditions.append(col(AuditEntry.outcome) == which.outcome)
    if which.since:
        conditions.append(col(AuditEntry.at) >= which.since)
    if which.until:
        conditions.append(col(AuditEntry.at) < which.until)
    return conditions


def verify(engine: Engine, anchor_file: Note, *, noted_head: str | None = None) -> AuditCheck:
    """Check every line against its hash and the line before it, and the newest ones against the anchor.

    `noted_head` is a `NUMBER:HASH` that was noted elsewhere. What this cannot find: a log that was rewritten from some
    line on, together with the anchor, by a person who may write both; a noted head finds that too.
    Raises StorageError.
    """
    # Read first: lines that are added meanwhile are newer than it says.
    anchor = read_anchor(anchor_file)
    heads = [_Head(*anchor, anchor_file.name)] if anchor else []
    if noted_head is not None:
        number, _, hashed = noted_head.partition(":")
        heads.append(_Head(int(number), hashed, "the head that was noted"))
    walk = _Walk()
    for entry in iterate(engine, AuditFilter()):
        walk.problems += _find_problems(entry, walk.number, walk.hash, heads)
        if entry.action in (GAP, RESTORED):
            walk.notes.append(f"Line {entry.number} reports: {entry.subject}")
        if entry.action == RESTORED:
            walk.restored = entry.number
        walk.number, walk.hash = entry.number, entry.hash
        if len(walk.problems) >= _PROBLEMS_SHOWN:
            walk.problems.append("There may be more.")
            return walk.result()
    walk.problems += _problems_at_the_end(walk.number, heads)
    if isinstance(anchor_file, StoredNote):
        walk.problems += [_MISSING_THERE.format(name=anchor_file.name)] if anchor is None and walk.number else []
        walk.notes += _notes_of_stored(walk.number, anchor, anchor_file)
    else:
        walk.problems += _problems_of_anchor(walk.number, anchor, anchor_file.name)
    if walk.problems and walk.restored and any(head.number >= walk.restored for head in heads):
        walk.problems.append(
            f"Line {walk.restored} tells that a backup was restored: what was written after that backup is not in this "
            "log."
        )
    return walk.result()


class _Head(NamedTuple):
    """A line that something outside the database knows."""

    number: int
    hash: str
    source: str


@dataclass
class _Walk:
    """A pass over the log, line by line: the last line so far, and the problems."""

    number: int = 0
    hash: str = ""
    restored: int = 0  # the last line that tells of a restored backup
    problems: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])

    def result(self) -> AuditCheck:
        head = f"{self.number}:{self.hash}" if self.number else ""
        return AuditCheck(self.number, head, self.problems, self.notes)


def _find_problems(entry: AuditEntry, last: int, last_hash: str, heads: list[_Head]) -> Iterator[str]:
    """Yield what is wrong with a line that comes after line `last`."""
    if entry.number == last + 2:
        yield f"Line {last + 1} was removed."
    elif entry.number != last + 1:
        yield f"Lines {last + 1} to {entry.number - 1} were removed."
    elif entry.previous != last_hash:
        yield f"Line {entry.number} does not follow from the line before it: one of them was replaced."
    if digest(entry) != entry.hash:
        yield f"Line {entry.number} was changed."
    for head in heads:
        if head.number == entry.number and head.hash != entry.hash:
            yield f"Line {head.number} is not the one that {head.source} knows: the log was rewritten."


def _problems_at_the_end(last: int, heads: list[_Head]) -> Iterator[str]:
    for head in heads:
        if head.number < 1:
            yield f"The line that {head.source} knows cannot be read."
        elif head.number > last:
            yield (
                f"The newest lines were removed: the log ends at line {last}, {head.source} knows line {head.number}."
            )


def _notes_of_stored(last: int, anchor: tuple[int, str] | None, kept: StoredNote) -> Iterator[str]:
    """Yield what the storage does not vouch for: it may not have been reached as those lines were added."""
    if anchor and 0 < anchor[0] < last and (read_anchor(kept) or (0,))[0] < last:
        yield (
            f"Lines {anchor[0] + 1} to {last} are newer than what {kept.name} in the storage notes: it could not be "
            "reached as they were added, or something else added them."
        )


def _problems_of_anchor(last: int, anchor: tuple[int, str] | None, name: str) -> Iterator[str]:
    if anchor and 0 < anchor[0] < last:
        yield (
            f"Lines {anchor[0] + 1} to {last} are newer than what {name} notes: something else added them, or Cohort "
            "Bridge was cut off right after it wrote them."
        )
    if anchor is None and last:
        yield f"The file {name} is missing: whether the newest lines were removed cannot be known."
