"""What writing an association would change, and the question before it is written."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.access.roles import Actor
from core.associate.rows import ACCEPTABLE, PROBLEMS, Problem
from core.bridge import Bridge
from data.models import CHANGED, Association
from pages.parts import run_status
from pages.parts.actions import confirm_buttons
from pages.parts.associate.actions import accept_problems, cancel, choose_prefix, confirm
from pages.parts.associate.rows import show_problems, show_warnings
from pages.parts.associate.wording import EFFECTS, PREFIXES
from pages.parts.formatting import escape_markdown, number, pluralize
from pages.shell import page_frame

_DIALOG = "associate_write"


def show_plan(bridge: Bridge, person: Actor, association: Association) -> None:
    """Show what writing would change, and the buttons that write or discard it."""
    run_status.tiles(
        [
            ("Rows", number(association.rows), "Of the file, its header and blank lines not counted."),
            ("= To write", number(association.writable), "Rows with one Apptimize id for one user."),
            (
                "+ Not written",
                number(association.rows - association.writable),
                "The reasons are below, for each row too.",
            ),
        ]
    )
    if association.effects:
        _show_effects(association)
    show_warnings(association)
    show_problems(association)
    _show_ticks(bridge, person, association)
    if association.expects_prefix and (Problem.UNPREFIXED in association.problems or association.prefix is not None):
        st.radio(
            "Ids that start with neither i_ nor a_",
            list(PREFIXES),
            index=list(PREFIXES).index(association.prefix),
            format_func=PREFIXES.__getitem__,
            key=f"associate_prefix_{association.id}",
            on_change=choose_prefix,
            args=(bridge, person, association.id),
            help="Apptimize knows identified users by i_ and anonymous ones by a_; it will not recognize others.",
        )
    _show_buttons(bridge, person, association)


def _show_effects(association: Association) -> None:
    st.subheader("What will change", anchor=False)
    with st.container(width=560):
        st.table(
            [
                {"Effect": text, "Rows": number(association.effects[effect])}
                for effect, text in EFFECTS.items()
                if effect in association.effects
            ],
            hide_index=True,
            border="horizontal",
        )


def _show_ticks(bridge: Bridge, person: Actor, association: Association) -> None:
    """Show a tick for each problem of the file that a person may accept, who knows that the ids are right."""
    accepted = association.accepted_problems
    found = [problem for problem in ACCEPTABLE if problem in association.problems or problem in accepted]
    if not found:
        return
    ticks = {f"associate_accept_{association.id}_{problem}": str(problem) for problem in found}
    st.markdown("**Write all the same, if these are the right ids**")
    for key, problem in ticks.items():
        st.checkbox(
            PROBLEMS[problem],
            value=problem in accepted,
            key=key,
            on_change=accept_problems,
            args=(bridge, person, association.id, ticks),
        )


def _show_buttons(bridge: Bridge, person: Actor, association: Association) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            f"Write {pluralize(association.writable, 'row')} …",
            key="associate_write",
            type="primary",
            icon=":material/edit:",
            disabled=not association.writable,
            on_click=page_frame.open_dialog,
            args=(_DIALOG, {}),
        )
        st.button(
            "Discard",
            key="associate_discard",
            icon=":material/close:",
            on_click=cancel,
            args=(bridge, person, association.id),
        )
    if page_frame.dialog_state(_DIALOG) is not None:
        _ask_to_write(bridge, person, association)


@page_frame.dialog(_DIALOG, "Write to Mixpanel?", icon="edit")
def _ask_to_write(bridge: Bridge, person: Actor, association: Association) -> None:
    assert association.id is not None
    changed = association.effects.get(CHANGED, 0)
    replaced = f" For {pluralize(changed, 'user')} another id is replaced; this cannot be undone." if changed else ""
    st.markdown(
        f"The property **{escape_markdown(association.match_property)}** is set on "
        f"{pluralize(association.writable, 'profile')} of project {association.project_id}.{replaced} "
        f"{pluralize(association.rows - association.writable, 'row is', 'rows are')} not written."
    )
    if association.warnings:
        warned = pluralize(sum(association.warnings.values()), "row has", "rows have")
        st.warning(f"Of those that are written, {warned} a warning. Look at them first.", icon=":material/warning:")
    confirm_buttons(
        "Write",
        key="associate_write",
        icon=":material/edit:",
        action=partial(confirm, bridge, person, association.id, association),
    )
