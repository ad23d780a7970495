"""What the id of members is called on the screens: the words of core, safe in Markdown."""

from __future__ import annotations

from core.rules.id_words import IdWords, id_words
from core.rules.matching import id_kind
from data.models import Run
from pages.parts.formatting import escape_markdown


def words_for(matched_by: str) -> IdWords:
    """Return the words for what a run or a group was matched by, with the name of a property escaped."""
    return id_words(matched_by, escape=escape_markdown)


def matching_key(run: Run) -> str:
    """Return what a read is named by in the address of Matching: its cohort, and the id, if that is not Apptimize's."""
    kind = id_kind(run.matched_by)
    return f"{run.cohort_id} {kind}" if kind else str(run.cohort_id)
