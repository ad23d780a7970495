"""What the id of members is called on the screens: the words of core, safe in Markdown."""

from __future__ import annotations

from core.rules.id_words import IdWords, id_words
from pages.parts.formatting import escape_markdown


def words_for(matched_by: str) -> IdWords:
    """Return the words for what a run or a group was matched by, with the name of a property escaped."""
    return id_words(matched_by, escape=escape_markdown)
