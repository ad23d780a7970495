"""Associate users by hand: one of them or a file, checked, looked at, confirmed, and an outcome for every row."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.access.roles import Actor
from core.associate import actions, target
from core.associate.actions import UNFINISHED, cancel_association, confirm_association, resume_association
from core.associate.rows import CHANGED, MOST_ROWS, NEW, PROBLEMS, SAME, UNSEEN, PlannedRow, Problem
from core.bridge import Bridge
from core.errors import CohortBridgeError, NotFound
from core.rules.matching import APPTIMIZE_PROPERTY, IdMerge
from data.models import Association, Connection, ImportStage
from pages.parts import download, run_status, tables
from pages.parts.formatting import age, error_text, escape_markdown, in_gray, number, pluralize
from pages.shell import page_frame

PLACE = "associate"
PAGE_ROWS = 50
LOOKS: dict[str, run_status.Badge] = {
    ImportStage.TO_CHECK: run_status.Badge("Waits to be checked", "schedule", "gray"),
    ImportStage.CHECKING: run_status.Badge("Being checked", "sync", "blue"),
    ImportStage.CHECKED: run_status.Badge("Checked, not written", "rule", "orange"),
    ImportStage.TO_WRITE: run_status.Badge("Waits to be written", "schedule", "gray"),
    ImportStage.WRITING: run_status.Badge("Being written", "sync", "blue"),
    ImportStage.DONE: run_status.Badge("Done", "check_circle", "green"),
    ImportStage.FAILED: run_status.Badge("Failed", "error", "red"),
    ImportStage.CANCELLED: run_status.Badge("Cancelled", "cancel", "gray"),
}
EFFECTS = {
    NEW: "Users who had no usable Apptimize id when their cohort was last read",
    CHANGED: "Users who had another Apptimize id: it is replaced",
    SAME: "Users who have this id already: nothing changes",
    UNSEEN: "Users who were in no cohort that was read here: a profile is made for those who have none",
    "taken": "Of these rows: the id is known from another user too, so one of the two counts as a duplicate",
}
EFFECT_WORDS = {NEW: "Gets an id", CHANGED: "Id is replaced", SAME: "No change", UNSEEN: "Not seen yet"}
PREFIXES: dict[str | None, str] = {
    None: "Leave these rows out",
    "i_": "Put i_ before them: identified users",
    "a_": "Put a_ before them: anonymous users",
    actions.AS_THEY_ARE: "Write them as they are",
}
NO_ALIAS = (
    "This project merges ids the Simplified way, so no alias event is sent: such a project refuses them. Events that "
    "Apptimize sends are attributed to a user only where its id is the user's `$user_id`."
)
ALIAS = (
    "Each Apptimize id also becomes an alias of its distinct id, so that events that Apptimize sends belong to the "
    "right user. An alias that was somebody else's before stays theirs; Mixpanel does not tell."
)


def go_to(association_id: int | None) -> None:
    """Show one association, or the form again; the address says which."""
    if association_id is None:
        st.query_params.pop("association", None)
    else:
        st.query_params["association"] = str(association_id)


def section(bridge: Bridge, person: Actor, connection: Connection | None) -> None:
    """Show the form, or the association that the address names."""
    asked = st.query_params.get("association")
    if asked and asked.isascii() and asked.isdigit() and len(asked) < 19:
        try:
            show_one(bridge, person, actions.get_association(bridge, person, int(asked)))
        except NotFound:
            st.warning(f"There is no association {escape_markdown(asked)}.", icon=":material/search_off:")
            _back()
        return
    if connection is None:
        st.info("Connect Mixpanel before users are associated.", icon=":material/link_off:")
        return
    _say_what_it_means(connection)
    page_frame.show_answer(PLACE)
    form(bridge, person)
    show_list(bridge, person)


def _say_what_it_means(connection: Connection) -> None:
    st.markdown(
        f"Sets the profile property `{escape_markdown(_property(connection)).replace(chr(92), '')}` in Mixpanel. Do this where "
        "the SDKs do not: ThirdPartyImporting is off, or the app uses the Mixpanel Swift SDK. The id is what "
        "`Apptimize.getPartnerID` returns, with its `i_` or `a_`."
    )
    st.caption(NO_ALIAS if connection.id_merge == IdMerge.SIMPLIFIED else ALIAS)
    if connection.id_merge == IdMerge.SIMPLIFIED and connection.match_property != _property(connection):
        st.warning(
            f"Cohorts of this project are matched on {escape_markdown(connection.match_property)}, so their groups do not follow "
            f"what is set here, unless the match property is {escape_markdown(APPTIMIZE_PROPERTY)}.",
            icon=":material/warning:",
        )
    if not connection.project_token:
        st.warning(
            "A file can be checked, but nothing can be written: the connection has no project token.",
            icon=":material/key_off:",
        )


def _property(connection: Connection) -> str:
    return target.property_for(connection)


def form(bridge: Bridge, person: Actor) -> None:
    """Take a file, or one user."""
    left, right = st.columns(2, gap="medium")
    with left.container(border=True):
        st.markdown("**A file**")
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
            _start(partial(actions.start_association, bridge, person, uploaded, source=uploaded.name))
    with right.form("associate_one"):
        st.markdown("**One user**")
        distinct_id = st.text_input("Mixpanel distinct id", key="associate_distinct_id")
        apptimize_id = st.text_input("Apptimize id", key="associate_apptimize_id", placeholder="i_… or a_…")
        if st.form_submit_button("Check user", key="associate_one_check", icon=":material/rule:"):
            one = partial(actions.associate_one, bridge, person, distinct_id=distinct_id, apptimize_id=apptimize_id)
            _start(one)
    st.caption("Nothing is written before you have seen what it changes and confirmed it.")


def _start(begin: partial[Association]) -> None:
    try:
        found = begin()
    except CohortBridgeError as exc:
        page_frame.answer(PLACE, error_text(exc), failed=True)
    else:
        page_frame.forget_answer()
        go_to(found.id)
    st.rerun()


def show_list(bridge: Bridge, person: Actor) -> None:
    """Show what was associated lately."""
    found = actions.list_associations(bridge, person)
    if not found:
        return
    st.header("Lately", anchor=False)
    tables.rows_to_open(
        [
            {
                "": "Open",
                "What": one.source or "One user",
                "State": LOOKS[one.stage].word,
                "Rows": one.rows,
                "Written": one.written,
                "When": age(one.created_at),
                "By": one.actor,
            }
            for one in found
        ],
        [one.id for one in found],
        key="associate",
        label="Associations by hand",
        go_to=go_to,
        columns={
            "What": st.column_config.TextColumn(width="medium"),
            **{name: st.column_config.NumberColumn(format="localized") for name in ("Rows", "Written")},
        },
    )


def _back() -> None:
    st.button(
        "All associations",
        key="associate_back",
        icon=":material/arrow_back:",
        type="tertiary",
        on_click=go_to,
        args=(None,),
    )


def show_one(bridge: Bridge, person: Actor, found: Association) -> None:
    """Show one association: its progress, its plan, or its outcome."""
    assert found.id is not None
    _back()
    st.header(escape_markdown(found.source or "One user"), anchor=False)
    if found.stage in UNFINISHED:
        page_frame.show_answer(PLACE)
        _progress(bridge, person, found.id)
        return
    _badge(found)
    page_frame.show_answer(PLACE)
    if found.stage == ImportStage.CHECKED:
        show_plan(bridge, person, found)
    else:
        show_outcome(bridge, person, found)
    if actions.has_plan(bridge, person, found.id):
        show_rows(bridge, person, found)


def _badge(found: Association) -> None:
    look = LOOKS[found.stage]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(look.word, icon=f":material/{look.icon}:", color=look.color)
        st.caption(f"Started by {escape_markdown(found.actor)} {age(found.created_at)}.", width="content")


@st.fragment(run_every="1s")
def _progress(bridge: Bridge, person: Actor, association_id: int) -> None:
    try:
        found = actions.get_association(bridge, person, association_id)
    except CohortBridgeError as exc:
        st.error(error_text(exc))
        return
    if found.stage not in UNFINISHED:
        st.rerun()
    _badge(found)
    with st.container(border=True):
        done = found.written + found.refused
        text = LOOKS[found.stage].word
        if found.stage == ImportStage.WRITING:
            text = f"Writing: {number(done)} of {pluralize(found.writable, 'row')}"
        st.progress(done / found.writable if found.writable else 0.0, text="Cancelling" if found.cancel_asked else text)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                "Cancelling …" if found.cancel_asked else "Cancel",
                key="associate_cancel",
                icon=":material/cancel:",
                disabled=found.cancel_asked,
                on_click=_act,
                args=(bridge, person, "cancel", association_id),
            )
            st.caption("You can leave this page: a worker does it.", width="content")


def _act(bridge: Bridge, person: Actor, what: str, association_id: int, seen: Association | None = None) -> None:
    actions = {
        "cancel": cancel_association,
        "confirm": partial(confirm_association, seen=seen),
        "resume": resume_association,
    }
    try:
        actions[what](bridge, person, association_id)
    except CohortBridgeError as exc:
        page_frame.answer(PLACE, error_text(exc), failed=True)
        return
    page_frame.forget_answer()


def show_plan(bridge: Bridge, person: Actor, found: Association) -> None:
    """Show what writing would change, and ask for the word."""
    _tiles(found)
    if found.effects:
        st.subheader("What will change", anchor=False)
        with st.container(width=860):
            st.table(
                [
                    {"Effect": EFFECTS[effect], "Rows": number(found.effects[effect])}
                    for effect in EFFECTS
                    if effect in found.effects
                ],
                hide_index=True,
                border="horizontal",
            )
    _problems(found)
    if found.expects_prefix and (Problem.UNPREFIXED in found.problems or found.prefix is not None):
        st.radio(
            "Ids that start with neither i_ nor a_",
            list(PREFIXES),
            index=list(PREFIXES).index(found.prefix),
            format_func=PREFIXES.__getitem__,
            key=f"associate_prefix_{found.id}",
            on_change=_choose_prefix,
            args=(bridge, person, found.id),
            help="Apptimize knows identified users by i_ and anonymous ones by a_; it will not recognise others.",
        )
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(
            f"Write {pluralize(found.writable, 'row')} …",
            key="associate_write",
            type="primary",
            icon=":material/edit:",
            disabled=not found.writable,
        ):
            _ask_to_write(bridge, person, found)
        st.button(
            "Discard",
            key="associate_discard",
            icon=":material/close:",
            on_click=_act,
            args=(bridge, person, "cancel", found.id),
        )


def _tiles(found: Association) -> None:
    run_status.tiles(
        [
            ("Rows", number(found.rows), "Of the file, its header and blank lines not counted."),
            ("= To write", number(found.writable), "Rows that say one thing about one user."),
            ("+ Not written", number(found.rows - found.writable), "The reasons are below, for each row too."),
        ]
    )


def _problems(found: Association) -> None:
    if not found.problems:
        return
    st.subheader("What is not written, and why", anchor=False)
    sizes = sorted(found.problems.items(), key=lambda item: (-item[1], item[0]))
    with st.container(width=860):
        st.table(
            [{"Reason": PROBLEMS.get(name, escape_markdown(name)), "Rows": number(count)} for name, count in sizes],
            hide_index=True,
            border="horizontal",
        )


def _choose_prefix(bridge: Bridge, person: Actor, association_id: int) -> None:
    try:
        actions.choose_prefix(bridge, person, association_id, st.session_state[f"associate_prefix_{association_id}"])
    except CohortBridgeError as exc:
        page_frame.answer(PLACE, error_text(exc), failed=True)


@st.dialog("Write to Mixpanel?", icon=":material/edit:")
def _ask_to_write(bridge: Bridge, person: Actor, found: Association) -> None:
    assert found.id is not None
    changed = found.effects.get(CHANGED, 0)
    replaced = (
        f" For {pluralize(changed, 'user')} another id is replaced, and cannot be put back here." if changed else ""
    )
    st.markdown(
        f"The property **{escape_markdown(found.match_property)}** is set on {pluralize(found.writable, 'profile')} of project "
        f"{found.project_id}.{replaced} {pluralize(found.rows - found.writable, 'row is', 'rows are')} not written."
    )
    with st.container(horizontal=True):
        if st.button("Write", key="associate_write_yes", type="primary", icon=":material/edit:"):
            _act(bridge, person, "confirm", found.id, seen=found)
            st.rerun()
        if st.button("Not now", key="associate_write_no"):
            st.rerun()


def show_outcome(bridge: Bridge, person: Actor, found: Association) -> None:
    """Show how it ended, and the outcome of every row to download."""
    assert found.id is not None
    cause = escape_markdown(f"{found.error_message or ''} {found.error_advice or ''}".strip())
    if found.stage == ImportStage.DONE:
        st.success(
            f"{pluralize(found.written, 'row was', 'rows were')} written. Groups hold these users from their next run "
            "on; press “Run now” on a sync to have it at once.",
            title="The users are associated",
            icon=":material/check_circle:",
        )
    elif found.stage == ImportStage.FAILED:
        title = "It stopped before its end" if found.confirmed_by else "The file could not be used"
        st.error(cause, title=title, icon=":material/error:")
    else:
        st.info(
            "The outcomes tell which rows were written until then." if found.confirmed_by else "Nothing was written.",
            title="Cancelled",
            icon=":material/cancel:",
        )
    if found.refused:
        st.warning(
            f"Mixpanel refused {pluralize(found.refused, 'row')}: the outcomes say why.", icon=":material/warning:"
        )
    if found.looked_up and not found.found:
        st.warning(
            f"Mixpanel accepted the rows, but none of {pluralize(found.looked_up, 'profile')} that were looked up "
            "afterwards has its new id. It may take some minutes; if it stays so, the project token may be another "
            "project's.",
            icon=":material/warning:",
        )
    if found.rows:
        run_status.tiles(
            [
                ("Rows", number(found.rows), "Of the file."),
                ("= Written", number(found.written), "Accepted by Mixpanel."),
                ("+ Refused", number(found.refused), "Not accepted by Mixpanel."),
                ("+ Not written", number(found.rows - found.writable), "Left out when the file was checked."),
                (
                    "+ No outcome",
                    number(found.writable - found.written - found.refused),
                    "Not sent, or sent without an answer: the outcomes tell which.",
                ),
            ]
        )
    with st.container(horizontal=True, vertical_alignment="center"):
        if found.stage in (ImportStage.FAILED, ImportStage.CANCELLED) and found.confirmed_by:
            st.button(
                "Go on",
                key="associate_resume",
                type="primary",
                icon=":material/play_arrow:",
                help="From the first row without an outcome.",
                on_click=_act,
                args=(bridge, person, "resume", found.id),
            )
        if actions.has_plan(bridge, person, found.id):
            download.offer_csv(
                partial(actions.association_outcomes, bridge, person, found.id),
                file_name=f"outcomes-{found.id}.csv",
                key="associate_outcomes",
                label="Download outcomes",
                help="A line for every row of the file, safe to open in a spreadsheet.",
            )
    _problems(found)


@st.fragment
def show_rows(bridge: Bridge, person: Actor, found: Association) -> None:
    """Page and search through the rows, those to write and those not."""
    assert found.id is not None
    st.subheader("Rows", anchor=False)
    kinds = ["To write" if found.stage == ImportStage.CHECKED else "Checked well", "Not written"]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.segmented_control(
            "Which rows", kinds, default=kinds[0], required=True, format_func=in_gray, key="associate_kind",
            on_change=_to_first_page,
        )  # fmt: skip
        search = st.text_input(
            "Search rows", key="associate_search", type="search", live="400ms", width=340, on_change=_to_first_page
        )
    page = st.session_state.get("associate_page", 1)
    try:
        shown = actions.planned_rows(
            bridge,
            person,
            found.id,
            writable=kind == kinds[0],
            search=search.strip(),
            offset=(page - 1) * PAGE_ROWS,
            limit=PAGE_ROWS,
        )
    except CohortBridgeError as exc:
        st.error(error_text(exc), icon=":material/error:")
        return
    if not shown.total:
        st.info("No row matches the search." if search else "There are no such rows.", icon=":material/search_off:")
        return
    first = (page - 1) * PAGE_ROWS + 1
    st.caption(f"{number(first)}–{number(first + len(shown.rows) - 1)} of {pluralize(shown.total, 'row')}")
    st.dataframe(
        [_row(row) for row in shown.rows],
        key="associate_rows",
        hide_index=True,
        height=tables.height(len(shown.rows), most=12),
        alt="Rows of the file",
        column_config={
            "Row": st.column_config.NumberColumn(format="localized", width=60),
            "Mixpanel distinct id": st.column_config.TextColumn(width=230),
            "Apptimize id": st.column_config.TextColumn(width=230),
        },
    )
    pages = -(-shown.total // PAGE_ROWS)
    if pages > 1:
        st.pagination(pages, key="associate_page")


def _to_first_page() -> None:
    st.session_state["associate_page"] = 1


def _row(row: PlannedRow) -> dict[str, object]:
    note = PROBLEMS.get(row.problem, row.problem) if row.problem else EFFECT_WORDS.get(row.effect or "", "")
    return {
        "Row": row.row,
        "Mixpanel distinct id": row.member.distinct_id[:300],
        "Apptimize id": row.member.apptimize_id[:300],
        "Why not" if row.problem else "Effect": note,
    }
