"""The rows of an association: searched and paged, those to write and those not."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.access.roles import Actor
from core.associate import actions
from core.associate.actions import PlannedRow
from core.associate.rows import PROBLEMS
from core.bridge import Bridge
from core.errors import CohortBridgeError
from core.invisible import revealed
from data.models import Association, ImportStage
from pages.parts import tables
from pages.parts.associate.wording import EFFECT_WORDS
from pages.parts.formatting import error_text, escape_markdown, in_gray, number, pluralize
from pages.parts.pager import Pager

PAGER = Pager("associate_page", rows=50)
_TO_WRITE, _VALID, _WARNED = "To write", "Valid", "With a warning"


def show_problems(association: Association) -> None:
    """Show how many rows are not written for each reason."""
    _show_counts("What is not written, and why", "Reason", association.problems)


def show_warnings(association: Association) -> None:
    """Show how many of the rows to write have a warning, and which."""
    _show_counts("What is written with a warning", "Warning", association.warnings)


def _show_counts(title: str, column: str, counts: dict[str, int]) -> None:
    if not counts:
        return
    st.subheader(title, anchor=False)
    problems = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    with st.container(width=560):
        st.table(
            [{column: PROBLEMS.get(name, escape_markdown(name)), "Rows": number(count)} for name, count in problems],
            hide_index=True,
            border="horizontal",
        )


@st.fragment
def show_rows(bridge: Bridge, person: Actor, association: Association) -> None:
    """Search and page through the rows."""
    assert association.id is not None
    st.subheader("Rows", anchor=False)
    kind, search = _filters(association)
    try:
        find = partial(
            actions.planned_rows,
            bridge,
            person,
            association.id,
            writable=kind in (_TO_WRITE, _VALID),
            warned=kind == _WARNED,
            search=search,
            limit=PAGER.rows,
        )
        planned = PAGER.find(lambda offset: find(offset=offset))
    except CohortBridgeError as exc:
        st.error(error_text(exc), icon=":material/error:")
        return
    if not planned.total:
        st.info("No row matches the search." if search else "There are no such rows.", icon=":material/search_off:")
        if search:
            st.button(
                "Clear search", key="associate_search_clear", icon=":material/filter_alt_off:", on_click=_clear_search
            )
        return
    st.caption(PAGER.range_text(len(planned.rows), pluralize(planned.total, "row"), total=planned.total))
    _table(planned.rows, warned=bool(association.warnings))
    PAGER.buttons(planned.total)


def _clear_search() -> None:
    st.session_state["associate_search"] = ""
    PAGER.to_first_page()


def _filters(association: Association) -> tuple[str, str]:
    kinds = [_TO_WRITE if association.stage == ImportStage.CHECKED else _VALID, "Not written"]
    if association.warnings:
        kinds.insert(1, _WARNED)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.segmented_control(
            "Which rows", kinds, default=kinds[0], required=True, format_func=in_gray, key="associate_kind",
            on_change=PAGER.to_first_page,
        )  # fmt: skip
        search = st.text_input(
            "Search rows",
            key="associate_search",
            type="search",
            live="400ms",
            width=340,
            on_change=PAGER.to_first_page,
        )
    return kind, search.strip()


def _table(rows: list[PlannedRow], *, warned: bool) -> None:
    st.dataframe(
        [_table_row(row, warned=warned) for row in rows],
        key="associate_rows",
        hide_index=True,
        height=tables.height(len(rows), most=8),
        alt="Rows of the file",
        column_config={
            "Row": st.column_config.NumberColumn(format="localized", width=60),
            "Mixpanel distinct id": st.column_config.TextColumn(width=230),
            "Apptimize id": st.column_config.TextColumn(width=230),
        },
    )


def _table_row(row: PlannedRow, *, warned: bool) -> dict[str, object]:
    note = PROBLEMS.get(row.problem, row.problem) if row.problem else EFFECT_WORDS.get(row.effect or "", "")
    return {
        "Row": row.row,
        "Mixpanel distinct id": revealed(row.member.distinct_id[:300]),
        "Apptimize id": revealed(row.member.apptimize_id[:300]),
        "Why not" if row.problem else "Effect": note,
        # Every row has the cell, if an empty one: "None" would be shown where it is missing.
        **({"Warning": PROBLEMS.get(row.warning or "", row.warning or "")} if warned and not row.problem else {}),
    }
