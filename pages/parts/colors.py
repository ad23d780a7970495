"""The colors of states and of charts: what means the same has the same one wherever it is drawn."""

from __future__ import annotations

from typing import Literal

import streamlit as st

Color = Literal["red", "orange", "blue", "green", "gray"]

# For what is drawn on the page itself: told apart on its background, light or dark.
DRAWN: dict[Color, str] = {
    "green": "#2f9e62",
    "red": "#d65a57",
    "orange": "#d98a2b",
    "blue": "#5577e0",
    "gray": "#8b95a7",
}
# For what bears a word, which is black on the light ones and white on the dark ones.
_BEHIND_WORDS: dict[str, dict[Color, str]] = {
    "light": {"green": "#c8ebd6", "red": "#f8cbc9", "orange": "#fbdcb0", "blue": "#d0dbfb", "gray": "#e2e7ef"},
    "dark": {"green": "#1c5a38", "red": "#7f2d2f", "orange": "#6d4511", "blue": "#2b3f8a", "gray": "#3b4657"},
}


def behind_words(color: Color) -> str:
    """Return the color that is put behind a word, in the theme that the reader has."""
    return _BEHIND_WORDS["dark" if st.context.theme.type == "dark" else "light"][color]
