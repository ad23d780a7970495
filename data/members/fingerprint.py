"""The fingerprint of members: two sums that tell whether two sets of members are the same, in whatever order they come.

Each member, a pair of ids, is hashed with MD5 behind a key, and the two halves of all hashes are added up as whole
numbers: what repeats counts twice, where an exclusive or would let it vanish, and a member can be taken away again. MD5
is defined outside DuckDB, whose own `hash` may change with a version.

Two sets that differ, and are as many, have the same fingerprint with a chance of 1 in 2^128, as if drawn by lot: with a
thousand comparisons a second since the universe began the chance that any was wrong is below 1 in 10^17.

Sums of a known hash could be made to agree on purpose: by two ids of one MD5, or by many whose sums cancel out. So the
key is drawn at random for each group and stays in the database: who chooses ids, but does not know the key, can do no
better than the lot. Who reads the database could, and may as well change it.
"""

from __future__ import annotations

import secrets
from typing import NamedTuple

from data.members.duck import quoted

# How a fingerprint is worked out: one of another version says nothing beside it.
VERSION = "2"
# What a query adds up of its column `hash`; a pair that lacks an id has none, and is not counted.
SUMS = "count(hash), coalesce(sum((hash & 18446744073709551615)::UBIGINT), 0), coalesce(sum((hash >> 64)::UBIGINT), 0)"


class Sums(NamedTuple):
    """How many members were added up, and the sums of both halves of their hashes."""

    members: int = 0
    low: int = 0
    high: int = 0

    def plus(self, other: Sums) -> Sums:
        """Add other members."""
        return Sums(self.members + other.members, self.low + other.low, self.high + other.high)

    def minus(self, other: Sums) -> Sums:
        """Take members away that were added."""
        return Sums(self.members - other.members, self.low - other.low, self.high - other.high)

    @property
    def fingerprint(self) -> str:
        """As it is kept, with its version."""
        return f"{VERSION}:{self.low:x}:{self.high:x}"


def read_sums(members: int, fingerprint: str | None) -> Sums | None:
    """Return the sums of so many members that a fingerprint was made of; None of one of another version."""
    version, _, halves = (fingerprint or "").partition(":")
    if version != VERSION:
        return None
    low, _, high = halves.partition(":")
    return Sums(members, int(low, 16), int(high, 16))


def new_key() -> str:
    """Draw the key of a group's fingerprints."""
    return secrets.token_hex(8)


def hash_of(key: str, *, distinct_id: str = "distinct_id") -> str:
    """Return the expression of a pair's hash; the length tells where one id ends and the other begins."""
    return f"md5_number({quoted(key)} || strlen(apptimize_id) || ':' || apptimize_id || {distinct_id})"
