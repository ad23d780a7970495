"""Header fields that are lists of items with parameters, as `RateLimit` is: `"project";r=0;t=3600` (RFC 9651).

Blanks between the parts are let through, quoted or not; what does not parse ends the reading, and counts as not there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_PART = re.compile(r'[ \t]*(?:"((?:[^"\\]|\\["\\])*)"|([^\s",;=]+)|([,;=]))')
_MOST = 10**9


@dataclass(frozen=True)
class Item:
    """One item of a list, and its parameters as they are written."""

    name: str
    parameters: dict[str, str] = field(default_factory=dict[str, str])

    def number(self, name: str) -> int | None:
        """Return a parameter that is a number from 0 to 10^9, None for any other."""
        text = self.parameters.get(name, "")
        number = int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None
        return number if number is not None and number <= _MOST else None


def parse_list(text: str) -> list[Item]:
    """Read the items of a field, in their order."""
    items, key, before, end = list[Item](), "", ",", 0
    while part := _PART.match(text, end):
        end = part.end()
        quoted, bare, sign = part.groups()
        value = bare if quoted is None else quoted
        if sign:
            pass
        elif before == ",":
            items.append(Item(value))
        elif before == ";" and items:
            key = value.lower()
            items[-1].parameters[key] = ""
        elif before == "=" and items and key:
            items[-1].parameters[key] = value
        else:
            break
        before = sign or ""
    return items
