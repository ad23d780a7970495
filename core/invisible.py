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
# Signs that emoji are made of, colors of skin among them; letters that change their form beside others (Arabic, Syriac,
# N'Ko, Mongolian, and those of India and its neighbors).
_PICTURE = "\u2190-\u21ff\u2300-\u23ff\u2600-\u27bf\u2900-\u297f\u2b00-\u2bff\U0001f000-\U0001faff"
_JOINING = "\u0620-\u07ff\u0840-\u0dff\u0f00-\u0fff\u1000-\u109f\u1780-\u17b3\u17b6-\u17dd\u1820-\u18aa"
# Where such a character is no trick but a part of what is drawn: between two signs or letters that it joins or keeps
# apart, after a sign whose form it chooses, in the flag of a country's part.
_DRAWN = re.compile(
    rf"(?<=[{_PICTURE}\ufe0f])\u200d(?=[{_PICTURE}])"
    rf"|(?<=[{_JOINING}])[\u200c\u200d](?=[{_JOINING}])"
    rf"|(?<=[^\x00-\x7f\s{_CHARACTERS}])[\ufe0e\ufe0f\U000e0100-\U000e01ef]|(?<=[0-9#*])\ufe0f(?=\u20e3)"
    r"|(?<=\U0001f3f4)[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f"
)


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


def revealed_in_name(text: str) -> str:
    """Return a name with each such character as its number, but for those that are part of what is drawn.

    A family is one emoji of several and their joiners, and a Persian word is written with them. Ids are compared
    character by character, so in these every one is shown: see `revealed`.
    """
    if text.isascii():
        return text
    parts, end = list[str](), 0
    for drawn in _DRAWN.finditer(text):
        parts += revealed(text[end : drawn.start()]), drawn[0]
        end = drawn.end()
    return "".join((*parts, revealed(text[end:])))
