"""Members that lie in memory, in place of a file of them; and what all files of an installation hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec
from sqlmodel import select

from core.bridge import Bridge
from data.engine import read_session
from data.models import Member
from data.proofs import FILE_COLUMNS


@dataclass(frozen=True)
class ListedMembers:
    """Offers what a destination reads members from; each chunk is handed on as it stands, whatever was asked for."""

    listed: Iterable[list[Member]]

    def chunks(self) -> Iterator[list[Member]]:
        """Yield the members."""
        return iter(self.listed)

    def json_chunks(self, *, distinct_id: str, apptimize_id: str, chunk: int) -> Iterator[tuple[bytes, int]]:
        """Yield the members as JSON."""
        for members in self.listed:
            yield as_json(members, distinct_id=distinct_id, apptimize_id=apptimize_id), len(members)


def as_json(members: Iterable[Member], *, distinct_id: str, apptimize_id: str) -> bytes:
    """Encode members as JSON objects with these keys, commas between."""
    objects = [{distinct_id: member.distinct_id, apptimize_id: member.apptimize_id} for member in members]
    return msgspec.json.encode(objects)[1:-1]


def contents(bridge: Bridge) -> dict[tuple[str, int], bytes | None]:
    """Return what each row's file of members holds, by the column that names it; None where it is not there."""
    found = dict[tuple[str, int], bytes | None]()
    with read_session(bridge.engine) as session:
        for column in FILE_COLUMNS:
            table = column.class_
            number = table.id if hasattr(table, "id") else table.group_id
            for row, name in session.exec(select(number, column).where(column.is_not(None))).all():
                there = bridge.snapshots.exists(name)
                found[f"{table.__tablename__}.{column.key}", row] = (
                    bridge.snapshots.path(name).read_bytes() if there else None
                )
    return found
