"""The rows of an association: searched and paged, those to write and those not."""

from __future__ import annotations

import streamlit as st

from core.access.roles import Actor
from core.associate import actions
from core.associate.actions import PlannedRow
from core.associate.rows import PROBLEMS
from core.bridge import Bridge
from core.errors import CohortBridgeError
from data.models import Association, ImportStage
from pages.parts import tables
from pages.parts.associate.wording import EFFECT_WORDS
from pages.parts.formatting import error_text, escape_markdown, in_gray, number, pluralize
from pages.parts.pager import Pager

PAGER = Pager("associate_page", rows=50)


def show_problems(association: Association) -> None:
    """Show how many rows are not written for each reason."""
    if not association.problems:
        return
    st.subheader("What is not written, and why", anchor=False)
    problems = sorted(association.problems.items(), key=lambda item: (-item[1], item[0]))
    with st.container(width=860):
        st.table(
            [{"Reason": PROBLEMS.get(name, escape_markdown(name)), "Rows": number(count)} for name, count in problems],
            hide_index=True,
            border="horizontal",
        )


@st.fragment
def show_rows(bridge: Bridge, person: Actor, association: Association) -> None:
    """Search and page through the rows."""
    assert association.id is not None
    st.subheader("Rows", anchor=False)
    writable, search = _filters(association)
    try:
        planned = actions.planned_rows(
            bridge,
            person,
            association.id,
            writable=writable,
            search=search,
            offset=PAGER.offset(),
            limit=PAGER.rows,
        )
    except CohortBridgeError as exc:
        st.error(error_text(exc), icon=":material/error:")
        return
    if not planned.total:
        st.info("No row matches the search." if search else "There are no such rows.", icon=":material/search_off:")
        return
    st.caption(PAGER.range_text(len(planned.rows), pluralize(planned.total, "row")))
    _table(planned.rows)
    PAGER.buttons(planned.total)


def _filters(association: Association) -> tuple[bool, str]:
    kinds = ["To write" if association.stage == ImportStage.CHECKED else "Valid", "Not written"]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.segmented_control(
            "Which rows", kinds, default=kinds[0], required=True, format_func=in_gray, key="associate_kind",
            on_change=PAGER.to_first_page,
        )  # fmt: skip
        search = st.text_input(
            "Search rows", key="associate_search", type="search", live="400ms", width=340, on_change=PAGER.to_first_page
        )
    return kind == kinds[0], search.strip()


def _table(rows: list[PlannedRow]) -> None:
    st.dataframe(
        [_table_row(row) for row in rows],
        key="associate_rows",
        hide_index=True,
        height=tables.height(len(rows), most=12),
        alt="Rows of the file",
        column_config={
            "Row": st.column_config.NumberColumn(format="localized", width=60),
            "Mixpanel distinct id": st.column_config.TextColumn(width=230),
            "Apptimize id": st.column_config.TextColumn(width=230),
        },
    )


def _table_row(row: PlannedRow) -> dict[str, object]:
    note = PROBLEMS.get(row.problem, row.problem) if row.problem else EFFECT_WORDS.get(row.effect or "", "")
    return {
        "Row": row.row,
        "Mixpanel distinct id": row.member.distinct_id[:300],
        "Apptimize id": row.member.apptimize_id[:300],
        "Why not" if row.problem else "Effect": note,
    }
