"""What rows call the files of members, and of associations, where they are restored: other names than where they were.

In object storage no name ever comes twice, so that a copy of a file on some machine is what it says: each file has a
random part in its name there, and gets another one with each restore.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Column, MetaData, String, Table, update
from sqlmodel import Session, col, select

from data.engine import Engine, write_session
from data.members.store import OF_RUNS
from data.models import Association
from data.proof_models import SnapshotProof
from data.proofs import FILE_COLUMNS

# What an earlier version called the files of excluded profiles.
_LEFT_OUT = re.compile("^left-out-")


def rename_members(engine: Engine) -> dict[str, str]:
    """Give every file of members that a row of a SQLite database names a name that nothing has; returns the new ones.

    Those that are lost get one too: another installation's file may have the old one. Raises StorageError.
    """
    columns: tuple[Any, ...] = (*FILE_COLUMNS, SnapshotProof.name)
    with write_session(engine) as session:
        old = {name for column in columns for name in session.exec(select(column).distinct()).all() if name}
        names = {name: _new_name(name) for name in sorted(old)}
        renamed = _note(session, names)
        for column in columns:
            new = select(renamed.c.new).where(renamed.c.old == column).scalar_subquery()
            session.exec(update(column.class_).where(column.is_not(None)).values({column.key: new}))
        renamed.drop(session.connection())
    return names


def name_bundles(engine: Engine, bundles: Iterable[tuple[int, str]]) -> None:
    """Name the objects that have the files of associations. Raises StorageError."""
    named = list(bundles)
    with write_session(engine) as session:
        for number, bundle in named:
            session.exec(update(Association).where(col(Association.id) == number).values(bundle=bundle))


def _new_name(old: str) -> str:
    kind = OF_RUNS.match(_LEFT_OUT.sub("excluded-", old))
    return f"{kind[0] if kind else 'excluded-00000000'}-{secrets.token_hex(6)}"


def _note(session: Session, names: dict[str, str]) -> Table:
    """Note the names in a table that goes with the connection."""
    renamed = Table(
        "renamed",
        MetaData(),
        Column("old", String, primary_key=True),
        Column("new", String, nullable=False),
        prefixes=["TEMPORARY"],
    )
    renamed.create(session.connection())
    if names:
        session.connection().execute(renamed.insert(), [{"old": old, "new": new} for old, new in names.items()])
    return renamed
