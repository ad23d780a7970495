"""What a cohort's group must hold, worked out once more from the raw profiles and the words of the matching rules.

Nothing here may be taken from the product: it is what the product is measured against.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Answer:
    """The group, as Apptimize id -> smallest distinct id, and what became of the other profiles."""

    group: dict[str, str] = field(default_factory=dict[str, str])
    profiles: int = 0
    duplicates: int = 0
    unmatched: int = 0
    invalid: int = 0

    @property
    def ids(self) -> list[str]:
        """The members in byte order."""
        return sorted(self.group, key=lambda id: id.encode())

    @property
    def unprefixed(self) -> int:
        return sum(not id.startswith(("i_", "a_")) for id in self.group)

    @property
    def csv(self) -> bytes:
        """The file that Apptimize's Groups page takes: a header, an id a line, quoted only where CSV needs it."""
        lines = ["user_id", *map(_quoted, self.ids)]
        return "".join(f"{line}\n" for line in lines).encode()

    @property
    def counts(self) -> dict[str, int]:
        """The counts as a run tells them."""
        return {
            "profiles": self.profiles,
            "members": len(self.group),
            "duplicates": self.duplicates,
            "unmatched": self.unmatched,
            "invalid": self.invalid,
            "unprefixed": self.unprefixed,
        }


def answer(profiles: Iterable[dict[str, Any]], match_property: str = "$apptimize_user_id") -> Answer:
    """Apply the rules of original ID merge to raw profiles."""
    return _collect((row["$distinct_id"], usable(row["$properties"].get(match_property))) for row in profiles)


def simplified_answer(profiles: Iterable[dict[str, Any]]) -> Answer:
    """Apply the rules of Simplified ID merge: `$user_id`, else the distinct id unless it is a device's."""

    def match(row: dict[str, Any]) -> str | None | bool:
        own = row["$properties"].get("$user_id")
        if own is not None:
            return usable(own)
        return None if str(row["$distinct_id"]).startswith("$device:") else usable(str(row["$distinct_id"]))

    return _collect((row["$distinct_id"], match(row)) for row in profiles)


def _collect(matched: Iterable[tuple[Any, str | None | bool]]) -> Answer:
    all_told = Answer()
    for raw_id, id in matched:
        distinct_id = str(raw_id)
        all_told.profiles += 1
        if id is None:
            all_told.unmatched += 1
        elif isinstance(id, bool):
            all_told.invalid += 1
        elif id in all_told.group:
            all_told.duplicates += 1
            all_told.group[id] = min(all_told.group[id], distinct_id)
        else:
            all_told.group[id] = distinct_id
    return all_told


def usable(value: Any) -> str | None | bool:
    """Return the id, None for one that is missing, False for one that cannot be an id."""
    if value is None:
        return None
    if isinstance(value, bool | list | dict):
        return False
    if isinstance(value, float):
        value = int(value) if value % 1 == 0 and abs(value) < 9_007_199_254_740_992 else "\x00"
    text = str(value)
    unfit = any(unicodedata.category(character) in ("Cc", "Cs") for character in text)
    # What Unicode ignores by default, or gives a place and no picture: the format characters, and a few letters.
    seen = [sign for sign in text if unicodedata.category(sign) != "Cf" and sign not in "\u034f\u3164\ufe0e\ufe0f"]
    return False if unfit or not "".join(seen).strip() or len(text) > 256 else text


def _quoted(id: str) -> str:
    return '"' + id.replace('"', '""') + '"' if any(mark in id for mark in ',"\r\n') else id
