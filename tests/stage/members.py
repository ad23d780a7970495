"""Members that lie in memory, in place of a file of them, for what only delivers them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from data.models import Member


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
