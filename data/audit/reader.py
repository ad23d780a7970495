"""The audit log's reading side: list it, page through it, and prove that nobody changed it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func
from sqlmodel import col, select

from data.audit.anchor import read_anchor
from data.audit.chain import GAP, digest
from data.engine import read_session
from data.models import AuditEntry

_PROBLEMS_SHOWN = 20
_AT_ONCE = 500


@dataclass(frozen=True)
class AuditFilter:
    """What to list of the log; everything unless said otherwise."""

    who: str = ""
    action: str = ""
    outcome: str = ""
    text: str = ""  # part of the subject
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class AuditCheck:
    """What a check of the log found. `head` is the newest line's `NUMBER:HASH`, to be noted somewhere safe.

    `notes` are the lines that tell of others which were not noted when they were written: to be looked at.
    """

    entries: int
    head: str
    problems: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])

    @property
    def ok(self) -> bool:
        """Tell whether the log is whole."""
        return not self.problems


def list_entries(engine: Engine, wanted: AuditFilter, *, limit: int = 50, offset: int = 0) -> list[AuditEntry]:
    """List lines, newest first."""
    with read_session(engine) as session:
        query = select(AuditEntry).where(*_conditions(wanted)).order_by(col(AuditEntry.number).desc())
        return list(session.exec(query.limit(limit).offset(offset)).all())


def get_entry(engine: Engine, number: int) -> AuditEntry | None:
    """Return one line, None if there is none of that number."""
    with read_session(engine) as session:
        return session.get(AuditEntry, number)


def count_entries(engine: Engine, wanted: AuditFilter) -> int:
    """Count the lines that `list_entries` pages through."""
    with read_session(engine) as session:
        return session.exec(select(func.count()).select_from(AuditEntry).where(*_conditions(wanted))).one()


def iterate(engine: Engine, wanted: AuditFilter) -> Iterator[AuditEntry]:
    """Yield lines, oldest first, a few at a time."""
    last = 0
    while True:
        with read_session(engine) as session:
            query = select(AuditEntry).where(col(AuditEntry.number) > last, *_conditions(wanted))
            found = session.exec(query.order_by(col(AuditEntry.number)).limit(_AT_ONCE)).all()
        yield from found
        if len(found) < _AT_ONCE:
            return
        last = found[-1].number


def actions(engine: Engine) -> list[str]:
    """List the actions that occur in the log."""
    with read_session(engine) as session:
        return list(session.exec(select(AuditEntry.action).distinct().order_by(col(AuditEntry.action))).all())


def _conditions(wanted: AuditFilter) -> list[Any]:
    found = list[Any]()
    if wanted.who:
        found.append(col(AuditEntry.who).icontains(wanted.who, autoescape=True))
    if wanted.text:
        found.append(col(AuditEntry.subject).icontains(wanted.text, autoescape=True))
    if wanted.action:
        found.append(col(AuditEntry.action) == wanted.action)
    if wanted.outcome:
        found.append(col(AuditEntry.outcome) == wanted.outcome)
    if wanted.since:
        found.append(col(AuditEntry.at) >= wanted.since)
    if wanted.until:
        found.append(col(AuditEntry.at) < wanted.until)
    return found


def verify(engine: Engine, anchor_file: Path, *, noted_head: str | None = None) -> AuditCheck:
    """Check every line against its hash and the line before it, and the newest ones against the anchor.

    `noted_head` is a `NUMBER:HASH` that was written down elsewhere. What this cannot find: a log that was rewritten
    from some line on, together with the anchor, by somebody who may write both; a noted head finds that too.
    """
    # Read first: lines that are added meanwhile are newer than it says.
    anchor = read_anchor(anchor_file)
    vouched = [(*anchor, anchor_file.name)] if anchor else []
    if noted_head is not None:
        noted, _, hashed = noted_head.partition(":")
        vouched.append((int(noted), hashed, "the head that was noted"))
    problems, notes, number, previous = list[str](), list[str](), 0, ""
    for entry in iterate(engine, AuditFilter()):
        if entry.number != number + 1:
            last = entry.number - 1
            problems.append(
                f"Line {last} was removed." if last == number + 1 else f"Lines {number + 1} to {last} were removed."
            )
        elif entry.previous != previous:
            problems.append(f"Line {entry.number} does not follow from the line before it: one of them was replaced.")
        if digest(entry) != entry.hash:
            problems.append(f"Line {entry.number} was changed.")
        if entry.action == GAP:
            notes.append(f"Line {entry.number} tells: {entry.subject}")
        for noted, hashed, where in vouched:
            if noted == entry.number and hashed != entry.hash:
                problems.append(f"Line {noted} is not the one that {where} knows: the log was written anew.")
        number, previous = entry.number, entry.hash
        if len(problems) >= _PROBLEMS_SHOWN:
            problems.append("There may be more.")
            return AuditCheck(number, f"{number}:{previous}", problems, notes)
    for noted, _, where in vouched:
        if noted < 1:
            problems.append(f"What {where} says cannot be read.")
        elif noted > number:
            problems.append(
                f"The newest lines were removed: the log ends at line {number}, {where} knows line {noted}."
            )
    if anchor and 0 < anchor[0] < number:
        problems.append(
            f"Lines {anchor[0] + 1} to {number} are newer than what {anchor_file.name} notes: something else added "
            "them, or Cohort Bridge was cut off right after it wrote them."
        )
    if anchor is None and number:
        problems.append(
            f"The file {anchor_file.name} is missing: whether the newest lines were removed cannot be told."
        )
    return AuditCheck(number, f"{number}:{previous}" if number else "", problems, notes)
