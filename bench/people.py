"""Made-up profiles in the proportions of a real project, and the groups that an export of them must give.

A block of at most a million people is made one by one. Every id in it has a place for the digit of its block, so that
ten blocks of people who have nothing in common can be served from the memory of one.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.names import PAGE_SIZE, PROPERTY

MOST_ROWS = 50_000  # of a page, whatever is asked for
BLOCK = 1_000_000
# Stands in every id for the digit of its block; nothing else in a row has this letter.
_PLACE = "G"
# What stands in place of an id: values that no one can be targeted by, and none at all.
_INVALID = ('""', '"  "', "true", "[1]", '{"id":1}', "1.5")
_UNMATCHED = ("null", "", "")  # "": the property is not there


@dataclass
class People:
    """A block of people, in order: the ids of each, and the JSON of what stands where no usable Apptimize id does."""

    distinct_ids: list[str] = field(default_factory=list)
    apptimize_ids: list[str | None] = field(default_factory=list)
    odd: dict[int, str] = field(default_factory=dict)


def make_people(seed: int, size: int) -> People:
    """Make a block: the same people every time for the same seed; 92 in 100 have a usable id that no other has."""
    chance, people = random.Random(seed), People()
    for number in range(size):
        people.distinct_ids.append(_distinct_id(chance, f"1{_PLACE}{number:06}"))
        people.apptimize_ids.append(None)
        _give_id(chance, people, number, f"1{_PLACE}{number:06}")
    return people


def change_people(people: People, percent: int, seed: int) -> People:
    """Change so many in a hundred: of ten of them nine leave, each for a new one, and one has another distinct id."""
    chance = random.Random(seed)
    later = People(list(people.distinct_ids), list(people.apptimize_ids), dict(people.odd))
    size = len(people.distinct_ids)
    for number in sorted(chance.sample(range(size), size * percent // 100)):
        later.distinct_ids[number] = _distinct_id(chance, f"2{_PLACE}{number:06}")
        if number % 10:
            later.odd.pop(number, None)
            later.apptimize_ids[number] = None
            _give_id(chance, later, number, f"2{_PLACE}{number:06}")
    return later


def _distinct_id(chance: random.Random, own: str) -> str:
    return f"user-{own}" if chance.random() < 0.2 else _uuid(chance)


def _uuid(chance: random.Random) -> str:
    bits = f"{chance.getrandbits(128):032x}"
    return f"{_PLACE}{bits[1:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}"


def _give_id(chance: random.Random, people: People, number: int, own: str) -> None:
    """Choose what a person's match property holds."""
    dice = chance.random()
    if dice < 0.90:
        people.apptimize_ids[number] = f"i_{people.distinct_ids[number]}"
    elif dice < 0.915:
        people.apptimize_ids[number] = f"a_{_uuid(chance)}"
    elif dice < 0.92:
        people.apptimize_ids[number] = own  # a project that sends its own numbers
    elif dice < 0.935:
        earlier = people.apptimize_ids[chance.randrange(number)] if number else None
        people.apptimize_ids[number] = earlier or f"i_{people.distinct_ids[number]}"
    else:
        people.odd[number] = chance.choice(_INVALID if dice < 0.94 else _UNMATCHED)


# --- what is served ------------------------------------------------------------------------------------------------


def encode(people: People) -> list[bytes]:
    """Encode a block's rows, a page's worth in each chunk, with the place for the block's digit left open."""
    rows = [_row(people, number) for number in range(len(people.distinct_ids))]
    return [",".join(rows[start : start + PAGE_SIZE]).encode() for start in range(0, len(rows), PAGE_SIZE)]


def _row(people: People, number: int) -> str:
    own = people.apptimize_ids[number]
    value = people.odd[number] if own is None else f'"{own}"' if own.startswith(("i_", "a_")) else own
    properties = f'"{PROPERTY}":{value}' if value else ""
    return f'{{"$distinct_id":"{people.distinct_ids[number]}","$properties":{{{properties}}}}}'


def in_block(chunk: bytes, block: int) -> bytes:
    """Give the ids of a chunk the digit of a block."""
    return chunk.replace(_PLACE.encode(), b"%d" % block)


# --- what is right -------------------------------------------------------------------------------------------------


def find_group(people: People) -> dict[str, str]:
    """Map each usable Apptimize id of a block, as block 0 has it, to the smallest distinct id that has it."""
    group: dict[str, str] = {}
    for open_id, open_distinct_id in zip(people.apptimize_ids, people.distinct_ids, strict=True):
        if open_id is not None:
            apptimize_id, distinct_id = open_id.replace(_PLACE, "0"), open_distinct_id.replace(_PLACE, "0")
            other = group.get(apptimize_id)
            group[apptimize_id] = distinct_id if other is None else min(other, distinct_id)
    return group


def count(people: People, group: Mapping[str, str]) -> dict[str, int]:
    """Count what an export of a block must count, under the names that it prints them by."""
    unmatched = sum(value in _UNMATCHED for value in people.odd.values())
    return {
        "profiles": len(people.distinct_ids),
        "members": len(group),
        "duplicates": len(people.distinct_ids) - len(people.odd) - len(group),
        "unmatched": unmatched,
        "invalid": len(people.odd) - unmatched,
        "unprefixed": sum(not own.startswith(("i_", "a_")) for own in group),
    }


def fingerprint(group: Mapping[str, str]) -> tuple[int, int]:
    """Return the number of members, and the sum of a hash of each with its distinct id: no order, no memory."""
    hashes = (hashlib.md5(f"{own}\0{distinct_id}".encode()).digest() for own, distinct_id in group.items())
    return len(group), sum(int.from_bytes(digest, "big") for digest in hashes) % 2**128


# --- a cohort ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Version:
    """A cohort as it is at one time, and what is right of it.

    A whole write leaves the group `whole`; a difference to the first version leaves `after_difference`, where those
    whose distinct id alone has changed still have the earlier one.
    """

    chunks: list[bytes]
    blocks: int
    counts: dict[str, int]
    whole: tuple[int, int]
    after_difference: tuple[int, int]

    def rows(self, page: int, page_size: int) -> list[bytes]:
        """Return the chunks of a page of so many rows, a multiple of a chunk's."""
        step = page_size // PAGE_SIZE
        return [self._chunk(at) for at in range(page * step, min((page + 1) * step, self.blocks * len(self.chunks)))]

    def _chunk(self, at: int) -> bytes:
        if self.blocks == 1:
            return self.chunks[at]
        block, place = divmod(at, len(self.chunks))
        return in_block(self.chunks[place], block)


@dataclass
class Cohort:
    """A cohort in all its versions, by the percentage of its people that has changed."""

    id: int
    name: str
    versions: dict[int, Version]
    percent: int = 0

    @property
    def now(self) -> Version:
        """The version that is served."""
        return self.versions[self.percent]


def make_cohort(cohort_id: int, name: str, size: int, changes: Sequence[int] = (), *, block: int = BLOCK) -> Cohort:
    """Make a cohort of `size` profiles, and versions of it in which so many per cent have changed.

    Beyond one block it consists of whole ones: `size` is a multiple, of ten at most.
    """
    blocks = -(-size // block)
    people = make_people(cohort_id, size // blocks)
    group = find_group(people)
    versions = {0: _version(people, group, blocks, group)}
    for percent in changes:
        later = change_people(people, percent, cohort_id + percent)
        versions[percent] = _version(later, find_group(later), blocks, group)
    return Cohort(cohort_id, name, versions)


def _version(people: People, group: dict[str, str], blocks: int, earlier: dict[str, str]) -> Version:
    added = len(group.keys() - earlier.keys())
    counts = count(people, group) | {"added": added, "removed": len(earlier) - len(group) + added}
    kept = {own: earlier.get(own, distinct_id) for own, distinct_id in group.items()}
    chunks = encode(people)
    return Version(
        chunks=[in_block(chunk, 0) for chunk in chunks] if blocks == 1 else chunks,
        blocks=blocks,
        counts={name: number * blocks for name, number in counts.items()},
        whole=fingerprint(group),
        after_difference=fingerprint(kept) if group is not earlier else fingerprint(group),
    )
