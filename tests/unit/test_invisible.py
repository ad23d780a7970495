"""Invisible characters, held against Unicode's own tables as far as Python has them."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from core.invisible import INVISIBLE, has_invisible_ends, is_unseen, revealed, revealed_in_name

# Prepended_Concatenation_Mark (PropList.txt): format characters that are drawn.
DRAWN = {*range(0x0600, 0x0606), 0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x110BD, 0x110CD}
# Other_Default_Ignorable_Code_Point (PropList.txt) and Variation_Selector: ignorable by default without being Cf.
IGNORABLE = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2065, 0x3164, 0xFFA0, *range(0xFFF0, 0xFFF9)}
SELECTORS = {0x180B, 0x180C, 0x180D, 0x180F, *range(0xFE00, 0xFE10)}
TAGS = {*range(0xE0000, 0xE1000)}
# Braille without a dot, and a note without a head; and Egyptian controls that are Cf since Unicode 15.
BLANK = {0x2800, 0x1D159}
EGYPTIAN = {*range(0x13430, 0x13440)}


def test_they_are_those_that_unicode_calls_format_or_ignorable():
    by_category = {point for point in range(sys.maxunicode + 1) if unicodedata.category(chr(point)) == "Cf"}
    expected = (by_category - DRAWN) | IGNORABLE | SELECTORS | TAGS | BLANK | EGYPTIAN
    everything = "".join(chr(point) for point in range(sys.maxunicode + 1))

    assert {ord(match[0]) for match in INVISIBLE.finditer(everything)} == expected


@pytest.mark.parametrize(
    ("text", "unseen", "ends"),
    [
        ("", True, False),
        (" \t", True, False),
        ("\u00a0\u3000", True, False),
        ("\u200b", True, True),
        (" \ufeff\u3000", True, False),
        ("u1\u200b", False, True),
        ("\u202eu1", False, True),
        ("u\u200d1", False, False),
        ("u1\u00ad", False, True),
        ("Jos\u00e9", False, False),
        ("anna\u2764\ufe0f", False, False),
        ("\u845b\U000e0100", False, False),
        ("u1\ufe0f", False, True),
        ("\ufe0f\u2764", False, True),
        ("\u2764\u200b\ufe0f", False, True),
        ("a\nb\u2060", False, True),
    ],
)
def test_a_text_shows_something_or_nothing_and_ends_in_what_is_seen_or_not(text: str, unseen: bool, ends: bool):
    assert (is_unseen(text), has_invisible_ends(text)) == (unseen, ends)


def test_they_are_shown_by_their_number_where_they_are_to_be_found():
    assert revealed("u\u200b1\U000e0069 caf\u00e9") == "u<U+200B>1<U+E0069> caf\u00e9"


@pytest.mark.parametrize(
    "name",
    [
        "\U0001f468\u200d\U0001f469\u200d\U0001f467 families",
        "\U0001f9d1\U0001f3fb\u200d\U0001f91d\u200d\U0001f9d1\U0001f3ff",
        "\u2764\ufe0f\u200d\U0001f525 and \U0001f642\u200d\u2194\ufe0f",
        "top 1\ufe0f\u20e3",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\u0915\u094d\u200d\u0937",
        "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
        "\u845b\U000e0100",
    ],
    ids=["family", "handshake", "with selectors", "keycap", "Persian", "Hindi", "Scotland", "ideograph"],
)
def test_a_name_is_written_with_what_its_emoji_and_letters_are_drawn_with(name: str):
    assert revealed_in_name(name) == name
    assert revealed(name) != name, "in an id each of them counts"


@pytest.mark.parametrize(
    ("name", "revealed_name"),
    [
        ("Po\u200dwer", "Po<U+200D>wer"),
        ("Power\u200d", "Power<U+200D>"),
        ("\U0001f468\u200d", "\U0001f468<U+200D>"),
        ("\U0001f468\u200d\u200d\U0001f469", "\U0001f468<U+200D><U+200D>\U0001f469"),
        ("\u202eresu\u200b", "<U+202E>resu<U+200B>"),
        ("\u0645\u200f\u0648", "\u0645<U+200F>\u0648"),
        ("u1\ufe0f", "u1<U+FE0F>"),
        ("\u2764\ufe0f\ufe0f", "\u2764\ufe0f<U+FE0F>"),
        ("a\U000e0061\U000e007f", "a<U+E0061><U+E007F>"),
        ("\U0001f3f4\U000e0061", "\U0001f3f4<U+E0061>"),
    ],
)
def test_what_draws_nothing_is_shown_by_its_number_in_a_name_too(name: str, revealed_name: str):
    assert revealed_in_name(name) == revealed_name
