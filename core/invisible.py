"""Invisible characters: an id that differs by one of them from another looks the same on every screen.

They are those that Unicode calls format characters (Cf) or ignorable by default (DerivedCoreProperties.txt), apart
from the signs of Arabic and its neighbors that are drawn although they are Cf, and with two that are blank in every
font. Written out, since to ask for the category of a million characters would slow down each start; a test asks.
"""

from __future__ import annotations

import re

_CHARACTERS = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)
INVISIBLE = re.compile(f"[{_CHARACTERS}]")
# Blanks are seen only beside something else.
_NOTHING = re.compile(rf"[\s{_CHARACTERS}]*\Z")
# The second half of an emoji, and of a rare form of a Chinese character: seen by what it makes of the first.
_DRAWN_END = re.compile(rf"[^\x00-\x7f\s{_CHARACTERS}][\ufe0f\U000e0100-\U000e01ef]\Z")


def is_unseen(text: str) -> bool:
    """Return whether there is nothing to be seen of a text: it is empty, or of blanks and such characters alone."""
    return not text.strip() if text.isascii() else bool(_NOTHING.match(text))


def has_invisible_ends(text: str) -> bool:
    """Return whether a text begins or ends with such a character."""
    if text.isascii():
        return False
    return bool(INVISIBLE.match(text) or (INVISIBLE.match(text, len(text) - 1) and not _DRAWN_END.search(text[-2:])))


def revealed(text: str) -> str:
    """Return a text with each such character as its number, such as `<U+200B>`, for where it is to be found."""
    return text if text.isascii() else INVISIBLE.sub(lambda match: f"<U+{ord(match[0]):04X}>", text)
