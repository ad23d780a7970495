"""Text of other origin, before it is shown: it steers no terminal, forges no line of a log and is never long."""

from __future__ import annotations

import re

from core.moments import without_moments

# What a terminal or a log acts on instead of showing it: controls, line breaks of any kind, marks that turn the
# direction of what follows, and the halves of characters that no encoding takes.
STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
# The halves of characters that JSON, and bytes that are not UTF-8, can smuggle in one at a time.
SURROGATE = re.compile("[\ud800-\udfff]")
# What no one types into a line: control characters of ASCII and Latin-1, and lone halves of characters.
UNTYPED = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# Mixpanel documents no limit for a distinct id; longer ones than this are no ids.
LONGEST_USER_ID = 1024
_PLACE = "\ufffd"
# More than any number here has, and few enough that to read them takes no time.
_MOST_DIGITS = 20
# The largest number that a database keeps, and so that a row of ours or something of a vendor's is known by.
MOST_ID = 2**63 - 1


def shown(text: str, *, most: int = 200) -> str:
    """Return text as it may stand in a sentence: one line of at most `most` characters, no moment of ours in it."""
    return without_moments(single_line(text, most=most))


def single_line(text: str, *, most: int) -> str:
    """Return a sentence of ours as one line of at most `most` characters."""
    line = STEERING.sub(_PLACE, text[: most + 1])
    return line if len(line) <= most else f"{line[: most - 1]}…"


def harmless(text: str, *, keep: str = "") -> str:
    """Replace what steers, at any length; the signs in `keep` are left as they are."""
    return STEERING.sub(lambda match: match[0] if match[0] in keep else _PLACE, text)


def escaped(document: str) -> str:
    """Format what steers as JSON's escapes; in a JSON document in one line it stands in strings alone."""
    return STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", document)


def clean_search(text: str) -> str:
    """Return what of a text can be searched for: an address may ask for what no one can type, and no storage takes."""
    return UNTYPED.sub("", text)[:LONGEST_USER_ID]


def whole_of(text: str) -> int | None:
    """Return the whole number that digits spell, None for anything else; one of more than 20 digits is just too large.

    Zeros in front count for nothing: a limit that looks at the first digits alone would let any number through.
    """
    if not (text.isascii() and text.isdigit()):
        return None
    return int(text.lstrip("0")[:_MOST_DIGITS] or "0")


def parse_id(text: str) -> int | None:
    """Return the id that digits spell; None for anything else, and for a number too large to be an id."""
    number = whole_of(text)
    return None if number is None or number > MOST_ID else number
