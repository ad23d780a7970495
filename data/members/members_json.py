"""Members as the JSON that is delivered: DuckDB writes each object, and Python only joins them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import msgspec

from data.members.duck import ONE_THREAD, MemoryTooSmall
from data.members.store import MemberFiles
from data.models import Member, MembershipChange

# An escape in JSON: the backslash and what it goes with, so that one which is itself escaped begins no other.
_ESCAPE = re.compile(rb"\\(?:u[0-9A-Fa-f]{4}|.)")


class JsonChunk(NamedTuple):
    """Some members: one JSON object each, with commas between, and how many they are."""

    text: bytes
    members: int


@dataclass(frozen=True)
class StoredMembers:
    """All members of a snapshot, or those of a difference with one change; each time read from the beginning."""

    files: MemberFiles
    name: str
    change: MembershipChange | None = None

    def chunks(self, *, chunk: int = 1000) -> Iterator[list[Member]]:
        """Yield the members in order of Apptimize id, `chunk` at a time; one chunk is in memory.

        Raises: MembersDamaged, before the first or after the last, where the file is not, all the time, what was made.
        """
        with self.files.as_made(self.name):
            yield from self._chunks(chunk)

    def _chunks(self, chunk: int) -> Iterator[list[Member]]:
        rows, values = self._rows
        query = f"SELECT apptimize_id, distinct_id {rows}"
        return self.files.member_chunks(query, values, of=[self.name], chunk=chunk)

    def json_chunks(self, *, distinct_id: str, apptimize_id: str, chunk: int = 1000) -> Iterator[JsonChunk]:
        """Yield the members in order of Apptimize id as JSON objects with these two keys, `chunk` at a time.

        Where both keys are the same, it has the id that members are known by. One chunk is in memory. Raises as
        `chunks` does.
        """
        with self.files.as_made(self.name):
            yield from self._json_chunks(distinct_id, apptimize_id, chunk)

    def _json_chunks(self, distinct_id: str, apptimize_id: str, chunk: int) -> Iterator[JsonChunk]:
        done = 0
        try:
            for each in self._written_by_duckdb(distinct_id, apptimize_id, chunk):
                yield each
                done += 1
        except MemoryTooSmall:
            # Long ids that fit into its memory may not fit a second time, as JSON: the rest is written by msgspec.
            for members in islice(self._chunks(chunk), done, None):
                text = as_json(members, distinct_id=distinct_id, apptimize_id=apptimize_id)
                yield JsonChunk(text, len(members))

    def _written_by_duckdb(self, distinct_id: str, apptimize_id: str, chunk: int) -> Iterator[JsonChunk]:
        rows, values = self._rows
        keys = [apptimize_id] if distinct_id == apptimize_id else [distinct_id, apptimize_id]
        pairs = "?, apptimize_id" if len(keys) == 1 else "?, distinct_id, ?, apptimize_id"
        query = f"SELECT json_object({pairs})::VARCHAR {rows}"
        for objects in self.files.chunks(query, keys + values, of=[self.name], chunk=chunk, setting=ONE_THREAD):
            text = ",".join([text for (text,) in objects]).encode()
            yield JsonChunk(_with_small_letters(text), len(objects))

    @property
    def _rows(self) -> tuple[str, list[str]]:
        """Where the members are, as the end of a query, and its values."""
        table = f"FROM {self.files.table(self.name)}"
        return (table, []) if self.change is None else (f"{table} WHERE change = ?", [self.change])


def as_json(members: Iterable[Member], *, distinct_id: str, apptimize_id: str) -> bytes:
    """Encode members as JSON objects with these keys, with commas between."""
    objects = [{distinct_id: member.distinct_id, apptimize_id: member.apptimize_id} for member in members]
    return msgspec.json.encode(objects)[1:-1]


def _with_small_letters(text: bytes) -> bytes:
    r"""Write `\u001B` as `\u001b`: of control characters DuckDB makes the one, and msgspec the other."""
    if b"\\" not in text or rb"\u00" not in text:  # one sign is searched for twenty times faster than four
        return text
    return _ESCAPE.sub(lambda found: found[0].lower() if found[0][1:2] == b"u" else found[0], text)
