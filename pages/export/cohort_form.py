"""The form that exports a cohort: the group's name, where it goes, and whether once or again and again."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.connections.project import destination_rule
from core.rules.due_times import INTERVALS
from core.syncs import one_time, recurring
from core.syncs.cohorts import why_not_exportable
from core.vendors.mixpanel_answers import Cohort
from data.models import Connection, ConnectionKind, Group, Sync
from pages.export import sync_settings, timing_fields
from pages.parts import answers
from pages.parts.actions import perform
from pages.parts.connections.wording import is_apptimize
from pages.parts.formatting import escape_markdown
from pages.parts.member_words import words_for

PLACE = "cohorts"
ONE_TIME, RECURRING = "One-time", "Recurring (dynamic)"


def show(bridge: Bridge, person: Actor, cohort: Cohort, destinations: list[Connection], groups: list[Group]) -> None:
    """Show what an export needs, and the buttons that start or preview it."""
    st.subheader("Export to Apptimize", anchor=False)
    if cohort.of_groups:
        st.info(
            "This is a group-analytics cohort: it holds companies or accounts, not users, so no user can be targeted "
            "with it. Choose a cohort of users.",
            title="It cannot be exported",
            icon=":material/domain:",
        )
        return
    if reason := why_not_exportable(cohort):
        st.info(
            f"{escape_markdown(reason)} Save the cohort again in Mixpanel, then refresh the list of cohorts.",
            title="It cannot be exported",
            icon=":material/rule:",
        )
        return
    places = {connection.id: connection.name for connection in destinations}
    own = [group for group in groups if group.cohort_id == cohort.id and group.destination_id in places]
    with st.container(border=True):
        _target_fields(cohort, destinations, own[0] if own else None)
        kind = st.radio(
            "Kind of export",
            [ONE_TIME, RECURRING],
            captions=[
                "Overwrites the group with the users who are in the cohort now. It is not updated afterwards.",
                "Keeps the group equal to the cohort, again and again.",
            ],
            key=f"cohorts_kind_{cohort.id}",
            horizontal=True,
        )
        if kind == RECURRING:
            sync_settings.schedule_fields("cohorts", cohort.id)
        _buttons(bridge, person, cohort, {places[group.destination_id]: group.name for group in own})
    answers.show(bridge, person, PLACE)


def _target_fields(cohort: Cohort, destinations: list[Connection], present: Group | None) -> None:
    ids = [connection.id for connection in destinations]
    left, right = st.columns(2)
    left.text_input(
        "Group name",
        value=present.name if present else cohort.name,
        max_chars=200,
        key=f"cohorts_group_{cohort.id}",
        help="Apptimize shows it as “Mixpanel: ” and this name, to everyone in the organization. A group that was "
        "delivered keeps its name.",
    )
    to = right.selectbox(
        "Export to",
        [connection.name for connection in destinations],
        index=ids.index(present.destination_id) if present else _default_index(destinations),
        format_func={place.name: f"{place.name} ({_kind_text(place)})" for place in destinations}.__getitem__,
        key=f"cohorts_to_{cohort.id}",
    )
    chosen = next(place for place in destinations if place.name == to)
    if note := words_for(str(destination_rule(chosen) or "")).note:
        st.caption(note)


def _default_index(destinations: list[Connection]) -> int:
    """Offer Apptimize before other receivers, and those before a folder, which leaves an upload to be done by hand."""

    def rank(index: int) -> tuple[bool, bool]:
        return not is_apptimize(destinations[index]), destinations[index].kind != ConnectionKind.ENDPOINT

    return min(range(len(destinations)), key=rank)


def _kind_text(destination: Connection) -> str:
    practice = ", practice" if destination.practice else ""
    if destination.kind == ConnectionKind.CSV:
        return f"CSV folder{practice}"
    return ("Apptimize" if is_apptimize(destination) else "another receiver") + practice


def _buttons(bridge: Bridge, person: Actor, cohort: Cohort, present_names: dict[str, str]) -> None:
    arguments = (bridge, person, cohort.id, present_names, cohort.name)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Start sync",
            key=f"cohorts_start_{cohort.id}",
            type="primary",
            icon=":material/play_arrow:",
            on_click=_start,
            args=arguments,
        )
        st.button(
            "Preview",
            key=f"cohorts_preview_{cohort.id}",
            icon=":material/experiment:",
            help="Reads the cohort and shows which members it would add and remove. Writes nothing; costs one query, "
            "as an export does.",
            on_click=_preview,
            args=arguments,
        )


def _entered(cohort_id: int, present_names: dict[str, str], usual_name: str) -> tuple[str | None, str]:
    """Return the group's name and the destination. A name that was not changed is None: it may change until then."""
    name, to = st.session_state[f"cohorts_group_{cohort_id}"], st.session_state[f"cohorts_to_{cohort_id}"]
    return None if name.strip() == present_names.get(to, usual_name) else name, to


def _start(bridge: Bridge, person: Actor, cohort_id: int, present_names: dict[str, str], usual_name: str) -> None:
    if st.session_state[f"cohorts_kind_{cohort_id}"] != RECURRING:
        _queue(bridge, person, cohort_id, _entered(cohort_id, present_names, usual_name), dry_run=False)
        return
    add = partial(_add, bridge, person, cohort_id, _entered(cohort_id, present_names, usual_name))
    perform(PLACE, add, lambda sync: f"Sync {sync.id} is active: its first run is due now.")


def _add(bridge: Bridge, person: Actor, cohort_id: int, target: tuple[str | None, str]) -> Sync:
    timing, max_shrink = sync_settings.read_schedule("cohorts", cohort_id)
    (every, schedule), (group, to) = timing_fields.parts_of(timing), target
    return recurring.add_sync(
        bridge,
        person,
        cohort_id,
        every_minutes=every or INTERVALS[0],
        schedule=schedule,
        group=group,
        to=to,
        max_shrink=max_shrink,
    )


def _preview(bridge: Bridge, person: Actor, cohort_id: int, present_names: dict[str, str], usual_name: str) -> None:
    _queue(bridge, person, cohort_id, _entered(cohort_id, present_names, usual_name), dry_run=True)


def _queue(bridge: Bridge, person: Actor, cohort_id: int, target: tuple[str | None, str], *, dry_run: bool) -> None:
    group, to = target
    run = perform(PLACE, partial(one_time.start_export, bridge, person, cohort_id, group=group, to=to, dry_run=dry_run))
    if run:
        st.toast(f"Run {run.id} was queued.", icon=":material/schedule:")
