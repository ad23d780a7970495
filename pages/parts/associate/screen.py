"""Associate users by hand: one user or a file, checked, reviewed, confirmed, and an outcome for every row."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.access.roles import Actor
from core.associate import actions, target
from core.associate.retrying import retry_text
from core.associate.rows import MOST_ROWS
from core.bridge import Bridge
from core.errors import CohortBridgeError
from core.rules.matching import APPTIMIZE_PROPERTY, IdMerge
from data.models import UNFINISHED_STAGES, Association, Connection, ImportStage
from pages.parts import answers, tables
from pages.parts.associate.actions import ASSOCIATIONS, PLACE, cancel, start
from pages.parts.associate.outcome import show_outcome
from pages.parts.associate.plan import show_plan
from pages.parts.associate.rows import show_rows
from pages.parts.associate.wording import ALIAS, BADGES, NO_ALIAS
from pages.parts.formatting import age, error_text, escape_markdown, number, pluralize
from pages.shell import page_frame, uploads

_DISTINCT_ID, _APPTIMIZE_ID = "associate_distinct_id", "associate_apptimize_id"


def show(bridge: Bridge, person: Actor, connection: Connection | None) -> None:
    """Show the form, or the association that the address names."""
    if ASSOCIATIONS.requested:
        if association := ASSOCIATIONS.find(partial(actions.get_association, bridge, person)):
            _show_one(bridge, person, association)
        return
    if connection is None:
        st.info("Connect Mixpanel before users are associated.", icon=":material/link_off:")
        return
    _explain(connection)
    answers.show(bridge, person, PLACE)
    _show_forms(bridge, person, connection.name)
    _show_list(bridge, person)


def _explain(connection: Connection) -> None:
    name = target.property_for(connection)
    st.markdown(
        f"Sets the profile property `{escape_markdown(name).replace(chr(92), '')}` in Mixpanel. Do this where "
        "the SDKs do not: ThirdPartyImporting is off, or the app uses the Mixpanel Swift SDK. The id is what "
        "`Apptimize.getPartnerID` returns, with its `i_` or `a_`."
    )
    st.caption(NO_ALIAS if connection.id_merge == IdMerge.SIMPLIFIED else ALIAS)
    if connection.id_merge == IdMerge.SIMPLIFIED and connection.match_property != name:
        st.warning(
            f"Cohorts of this project are matched on {escape_markdown(connection.match_property)}, so their groups do "
            f"not follow what is set here, unless the match property is {escape_markdown(APPTIMIZE_PROPERTY)}.",
            icon=":material/warning:",
        )
    if not connection.project_token:
        st.warning(
            "A file can be checked, but nothing can be written: the connection has no project token.",
            icon=":material/key_off:",
        )


def _show_forms(bridge: Bridge, person: Actor, mixpanel: str) -> None:
    left, right = st.columns(2, gap="medium")
    with left.container(border=True):
        st.markdown("**A file**")
        if not uploads.offer(bridge, person):
            st.warning(
                "Other files take the room for a large one just now: try again in some minutes.",
                icon=":material/hourglass:",
            )
        uploaded = st.file_uploader(
            "CSV with the columns distinct_id and apptimize_id",
            type=["csv", "txt"],
            key="associate_file",
            help=f"At most {MOST_ROWS:,} rows, as UTF-8. Other columns are ignored.",
        )
        if st.button(
            "Check file", key="associate_check", type="primary", icon=":material/rule:", disabled=not uploaded
        ):
            assert uploaded is not None
            begin = partial(actions.start_association, bridge, person, uploaded)
            start(partial(begin, source=uploaded.name, mixpanel=mixpanel))
    with right.form("associate_one"):
        st.markdown("**One user**")
        distinct_id = st.text_input("Mixpanel distinct id", key=_DISTINCT_ID)
        page_frame.show_answer(_DISTINCT_ID)
        apptimize_id = st.text_input("Apptimize id", key=_APPTIMIZE_ID, placeholder="i_… or a_…")
        page_frame.show_answer(_APPTIMIZE_ID)
        if st.form_submit_button("Check user", key="associate_one_check", icon=":material/rule:"):
            begin = partial(actions.associate_one, bridge, person, mixpanel=mixpanel)
            places = {"Distinct id": _DISTINCT_ID, "Apptimize id": _APPTIMIZE_ID}
            start(partial(begin, distinct_id=distinct_id, apptimize_id=apptimize_id), fields=places)
    st.caption("Nothing is written before you have seen what it changes and confirmed it.")


def _show_list(bridge: Bridge, person: Actor) -> None:
    associations = actions.list_associations(bridge, person)
    if not associations:
        return
    st.header("Recent associations", anchor=False)
    tables.rows_to_open(
        [
            {
                "What": association.source or "One user",
                "State": BADGES[association.stage].word,
                "Rows": association.rows,
                "Written": association.written,
                "When": age(association.created_at),
                "By": association.actor,
            }
            for association in associations
        ],
        [association.id for association in associations],
        key="associate",
        label="Associations by hand",
        go_to=ASSOCIATIONS.go_to,
        opens="What",
        opens_width=200,
        columns=tables.counts("Rows", "Written"),
    )


def _show_one(bridge: Bridge, person: Actor, association: Association) -> None:
    assert association.id is not None
    ASSOCIATIONS.back_button()
    st.header(escape_markdown(association.source or "One user"), anchor=False)
    if association.stage in UNFINISHED_STAGES:
        answers.show(bridge, person, PLACE)
        _progress(bridge, person, association.id)
        return
    _badge(association)
    answers.show(bridge, person, PLACE)
    if association.stage == ImportStage.CHECKED:
        show_plan(bridge, person, association)
    else:
        show_outcome(bridge, person, association)
    if actions.has_plan(bridge, person, association.id):
        show_rows(bridge, person, association)


def _badge(association: Association) -> None:
    badge = BADGES[association.stage]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(badge.word, icon=f":material/{badge.icon}:", color=badge.color)
        st.caption(f"Started by {escape_markdown(association.actor)} {age(association.created_at)}.", width="content")


@st.fragment(run_every="1s")
def _progress(bridge: Bridge, person: Actor, association_id: int) -> None:
    try:
        association = actions.get_association(bridge, person, association_id)
    except CohortBridgeError as exc:
        st.error(error_text(exc))
        return
    if association.stage not in UNFINISHED_STAGES:
        st.rerun()
    _badge(association)
    with st.container(border=True):
        done = association.written + association.refused
        text = BADGES[association.stage].word
        if association.stage == ImportStage.WRITING:
            text = f"Writing: {number(done)} of {pluralize(association.writable, 'row')}"
        st.progress(
            min(done / association.writable, 1.0) if association.writable else 0.0,
            text="Cancelling" if association.cancel_asked else text,
        )
        if retry := retry_text(association):
            st.warning(escape_markdown(retry), title="Waiting to try again", icon=":material/replay:")
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                "Cancelling …" if association.cancel_asked else "Cancel",
                key="associate_cancel",
                icon=":material/cancel:",
                disabled=association.cancel_asked,
                on_click=cancel,
                args=(bridge, person, association_id),
            )
            st.caption("You can leave this page; a worker does it.", width="content")
