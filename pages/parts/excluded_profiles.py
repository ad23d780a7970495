"""The profiles of a cohort that made no member: why, which they are, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.invisible import revealed
from core.reports import match_funnel
from core.reports.match_funnel import ExcludedPage, shown_row
from core.rules.id_words import id_words
from core.rules.matching import Reason
from data.models import DUPLICATE, Run
from pages.parts import download, folded, run_status, tables
from pages.parts.actions import show_errors
from pages.parts.filters import Filters
from pages.parts.formatting import pluralize
from pages.parts.member_words import words_for
from pages.parts.pager import Pager

PAGER = Pager("matching_page", rows=50, name="page")

_WHAT_TO_DO = [
    (
        "No profile",
        "Mixpanel knows the user only as a visitor.",
        "Set at least one profile property in the app; users without one are never exported.",
    ),
    (
        "Unmatched",
        "The profile has no Apptimize id.",
        "Install both SDKs and switch ThirdPartyImporting on: they set the id together. With the Mixpanel Swift SDK, "
        "set it in the app from `Apptimize.getPartnerID`, or associate the users by hand.",
    ),
    (
        "Invalid",
        "The id is there and cannot be used: blank, a list, too long, or only invisible characters.",
        "Find what sets the property in your app or import, and have it set what `Apptimize.getPartnerID` returns.",
    ),
    (
        "Duplicate",
        "Several profiles have the same id, which is in the group once.",
        "Nothing for the group. Many of them mean that people sign in on shared devices, or that ids are not merged.",
    ),
    (
        "No prefix",
        "The id starts with neither `i_` nor `a_`; it is exported all the same.",
        "Set the value of `Apptimize.getPartnerID` and not your own user id: Apptimize will not recognize that one.",
    ),
]


# Where a destination knows people by another id: none of the advice is about Apptimize then.
_NO_PROFILE = _WHAT_TO_DO[0]
_BY_DISTINCT_ID = [
    _NO_PROFILE,
    ("Invalid", "The profile has no usable distinct id.", "Look at the profile in Mixpanel."),
]


def reason_text(reason: str, matched_by: str) -> str:
    """Format why a profile made no member."""
    if reason == Reason.UNMATCHED:
        return f"Unmatched: no {id_words(matched_by).name}"
    return "Another profile has the id" if reason == DUPLICATE else run_status.REASONS.get(reason, reason)


def _what_to_do(matched_by: str) -> list[tuple[str, str, str]]:
    words = words_for(matched_by)
    if words.is_apptimize:
        return _WHAT_TO_DO
    if words.code == "distinct":
        return _BY_DISTINCT_ID
    return [
        _NO_PROFILE,
        ("Unmatched", f"The profile has no {words.name}.", "Have your app or import set the property."),
        (
            "Invalid",
            "It cannot be used: blank, a list, too long, or only invisible characters.",
            "Correct its source.",
        ),
        ("Duplicate", "Several profiles have the same value, which is in the group once.", "Nothing for the group."),
    ]


@st.fragment
def show_excluded(bridge: Bridge, person: Actor, run: Run, explain: Callable[[str], None]) -> None:
    """Search and page through the profiles that made no member, and offer them for download.

    `explain` shows what became of a search that none of them matches.
    """
    assert run.id is not None
    st.header("Excluded profiles", anchor=False)
    filters = Filters("matching", PAGER)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        reasons, search = _show_filters(run, filters)
        download.offer_csv(
            partial(match_funnel.excluded_csv, bridge, person, run.id, reasons=tuple(reasons), search=search),
            file_name=f"excluded-{run.cohort_id}.csv",
            key="matching_download",
            help="The profiles that are listed here, safe to open in a spreadsheet.",
        )
    filters.show_unknown()
    with show_errors():
        find = partial(match_funnel.excluded, bridge, person, run.id, reasons=reasons, search=search, limit=PAGER.rows)
        page = PAGER.find(lambda offset: find(offset=offset))
        if page.total:
            _show_page(page, run.matched_by)
        else:
            filters.show_none("No profile matches the filters.")
            if search and not reasons:
                explain(search)


def _show_filters(run: Run, filters: Filters) -> tuple[list[str], str]:
    sizes = {Reason.UNMATCHED.value: run.unmatched, **run.reasons, DUPLICATE: run.duplicates}
    present = {name: reason_text(name, run.matched_by) for name, size in sizes.items() if size}
    reasons: list[str] = filters.many(st.multiselect, "Reason", "reasons", present, placeholder="All", width=340)
    search = filters.text(st.text_input, "Search", "search", live="400ms", placeholder="Part of an id", width=260)
    return reasons, search


def _show_page(page: ExcludedPage, matched_by: str) -> None:
    st.caption(PAGER.range_text(len(page.rows), pluralize(page.total, "profile"), total=page.total))
    st.dataframe(
        [
            {
                "Mixpanel distinct id": revealed(distinct_id),
                "Why": reason_text(reason, matched_by),
                id_words(matched_by).title: revealed(apptimize_id or ""),
            }
            for reason, distinct_id, apptimize_id in map(shown_row, page.rows)
        ],
        key="matching_excluded",
        hide_index=True,
        height=tables.height(len(page.rows), most=10),
        alt="Excluded profiles",
        column_config={"Mixpanel distinct id": st.column_config.TextColumn(width=260)},
    )
    PAGER.buttons(page.total)


def explain_reasons(matched_by: str = "") -> None:
    """Explain what each reason means, and what to do about it."""
    show = partial(_reasons, matched_by)
    folded.expander("What each of these means, and what to do about it", show, key="matching_explained")


def _reasons(matched_by: str) -> None:
    for name, meaning, advice in _what_to_do(matched_by):
        st.markdown(f"**{name}.** {meaning} {advice}")
