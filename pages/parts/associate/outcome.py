"""How an association ended: in a sentence, in numbers, and the outcome of every row to download."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.access.roles import Actor
from core.associate import actions
from core.bridge import Bridge
from data.models import Association, ImportStage
from pages.parts import download, run_status
from pages.parts.associate.actions import resume
from pages.parts.associate.rows import show_problems, show_warnings
from pages.parts.formatting import message_text, number, pluralize


def show_outcome(bridge: Bridge, person: Actor, association: Association) -> None:
    """Show how it ended, and offer the outcome of every row."""
    _show_end(association)
    _show_warnings(association)
    if association.rows:
        _show_counts(association)
    _show_buttons(bridge, person, association)
    show_warnings(association)
    show_problems(association)


def _show_end(association: Association) -> None:
    if association.stage == ImportStage.DONE:
        st.success(
            f"{pluralize(association.written, 'row was', 'rows were')} written. Groups hold these users from their "
            "next run on; press “Run now” on a sync to have it at once.",
            title="The users are associated",
            icon=":material/check_circle:",
        )
    elif association.stage == ImportStage.FAILED:
        title = "Writing stopped before the last row" if association.confirmed_by else "The file could not be used"
        st.error(
            message_text(association.error_message, association.error_advice), title=title, icon=":material/error:"
        )
    else:
        st.info(
            "The outcomes list which rows were written before that."
            if association.confirmed_by
            else "Nothing was written.",
            title="Cancelled",
            icon=":material/cancel:",
        )


def _show_warnings(association: Association) -> None:
    if association.refused:
        st.warning(
            f"Mixpanel refused {pluralize(association.refused, 'row')}: the outcomes say why.",
            icon=":material/warning:",
        )
    if association.looked_up and not association.found:
        st.warning(
            f"Mixpanel accepted the rows, but none of {pluralize(association.looked_up, 'profile')} that were looked "
            "up afterwards has its new id. It may take some minutes; if it stays so, the project token may belong to "
            "another project.",
            icon=":material/warning:",
        )


def _show_counts(association: Association) -> None:
    without_outcome = association.writable - association.written - association.refused
    run_status.tiles(
        [
            ("Rows", number(association.rows), "Of the file."),
            ("= Written", number(association.written), "Accepted by Mixpanel."),
            ("+ Refused", number(association.refused), "Not accepted by Mixpanel."),
            ("+ Not written", number(association.rows - association.writable), "Excluded when the file was checked."),
            ("+ No outcome", number(without_outcome), "Not sent, or sent without an answer: the outcomes say which."),
        ]
    )


def _show_buttons(bridge: Bridge, person: Actor, association: Association) -> None:
    assert association.id is not None
    can_resume = association.stage in (ImportStage.FAILED, ImportStage.CANCELLED) and association.confirmed_by
    with st.container(horizontal=True, vertical_alignment="center"):
        if can_resume:
            st.button(
                "Resume",
                key="associate_resume",
                type="primary",
                icon=":material/play_arrow:",
                help="From the first row without an outcome.",
                on_click=resume,
                args=(bridge, person, association.id),
            )
        if actions.has_plan(bridge, person, association.id):
            download.offer_csv(
                partial(actions.association_outcomes, bridge, person, association.id),
                file_name=f"outcomes-{association.id}.csv",
                key="associate_outcomes",
                label="Download outcomes",
                help="A line for every row of the file, safe to open in a spreadsheet.",
            )
