"""Made-up profiles in the proportions of a real project, with the answer that an export of them must give."""

from __future__ import annotations

import json
import random
import uuid
from dataclasses import dataclass, field

PAGE_SIZE = 1000
PROPERTY = "$apptimize_user_id"


@dataclass
class Truth:
    """What an export has to find; `group` maps each Apptimize id to the smallest distinct id that has it."""

    profiles: int = 0
    duplicates: int = 0
    unmatched: int = 0
    invalid: int = 0
    unprefixed: int = 0
    group: dict[str, str] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """The numbers under the names that an export prints them by."""
        return {
            "profiles": self.profiles,
            "members": len(self.group),
            "duplicates": self.duplicates,
            "unmatched": self.unmatched,
            "invalid": self.invalid,
            "unprefixed": self.unprefixed,
        }


@dataclass
class Cohort:
    """A cohort, its pages encoded once: all that is left to do at request time is to send them."""

    id: int
    name: str
    pages: list[bytes]
    truth: Truth


def make_cohort(cohort_id: int, name: str, size: int) -> Cohort:
    """Make `size` profiles: the same ones every time for the same cohort id."""
    chance = random.Random(cohort_id)
    truth = Truth(profiles=size)
    given: list[str] = []
    rows, pages = [], []
    for number in range(size):
        distinct_id = _distinct_id(chance, number)
        rows.append(_row(distinct_id, _value(chance, distinct_id, number, given, truth)))
        if len(rows) == PAGE_SIZE:
            pages.append(b"[" + b",".join(rows) + b"]")
            rows = []
    # By the documented algorithm a page that is not full is the last: an exact multiple ends with an empty one.
    pages.append(b"[" + b",".join(rows) + b"]")
    return Cohort(cohort_id, name, pages, truth)


def _distinct_id(chance: random.Random, number: int) -> str:
    if chance.random() < 0.2:
        return f"user-{10_000_000 + number}"
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


def _value(chance: random.Random, distinct_id: str, number: int, given: list[str], truth: Truth) -> object:
    """Choose the match property of a profile and enter it into the truth; 92 in 100 profiles have a new usable one."""
    dice = chance.random()
    value: str | int
    if dice < 0.90:
        value = f"i_{distinct_id}"
    elif dice < 0.915:
        value = f"a_{uuid.UUID(int=chance.getrandbits(128), version=4)}"
    elif dice < 0.92:
        value = 10_000_000 + number  # a project that sends its own numbers
    elif dice < 0.935 and given:
        value = chance.choice(given)
    elif dice < 0.94:
        truth.invalid += 1
        return chance.choice(["", "  ", True, [distinct_id], {"id": distinct_id}, 1.5])
    else:
        truth.unmatched += 1
        return chance.choice([None, ..., ...])  # ... stands for a property that is not there
    text = str(value)
    other = truth.group.get(text)
    if other is None:
        truth.group[text] = distinct_id
        truth.unprefixed += not text.startswith(("i_", "a_"))
        given.append(text)
    else:
        truth.duplicates += 1
        truth.group[text] = min(other, distinct_id)
    return value


def _row(distinct_id: str, value: object) -> bytes:
    properties = {} if value is ... else {PROPERTY: value}
    return json.dumps({"$distinct_id": distinct_id, "$properties": properties}, separators=(",", ":")).encode()
