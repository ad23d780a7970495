"""The form that exports a cohort: the group's name, where it goes, and whether once or again and again."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.connections.project import destination_rule
from core.syncs import settings
from core.syncs.cohorts import why_not_exportable
from core.syncs.listing import SyncView
from core.vendors.mixpanel_answers import Cohort
from data.models import Connection, ConnectionKind, Run, Sync, SyncState
from pages.export import export_settings, sync_settings
from pages.export.cohort_now import CohortNow
from pages.export.export_settings import KINDS, RECURRING, ExportNames
from pages.parts import answers
from pages.parts.actions import perform, subject
from pages.parts.connections.wording import is_apptimize
from pages.parts.formatting import clock, escape_markdown, timing_phrase
from pages.parts.member_words import words_for
from pages.parts.selection import set_param
from pages.shell import page_frame

PLACE = "cohorts"
# The parameter of the address that names the destination.
TO = "to"
_BESIDE_BUTTONS_PX = 390


def show(bridge: Bridge, person: Actor, now: CohortNow) -> Connection | None:
    """Show what an export needs, and the buttons that start or preview it. It stands still while runs come and go.

    Returns the destination that is chosen, None where the cohort cannot be exported.
    """
    cohort = now.cohort
    _follow_address(now)
    st.subheader(_heading(now), anchor=False)
    if _explain_why_not(cohort):
        return None
    with st.container(border=True):
        _target_fields(now)
        kind = st.radio(
            "Kind of export",
            list(KINDS),
            captions=list(KINDS.values()),
            key=f"cohorts_kind_{cohort.id}",
            horizontal=True,
        )
        first_runs = ""
        if kind == RECURRING:
            suggestion = settings.suggest_shrink_limit(bridge, person, now.group_id_at(chosen(now)))
            first_runs = sync_settings.schedule_fields("cohorts", cohort.id, suggestion=suggestion)
        # At the right: the lists of the times open at the left.
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="right"):
            present = now.sync_at(chosen(now))
            if present:
                _explain_present(present, kind)
            elif first_runs:
                st.caption(first_runs, width=_BESIDE_BUTTONS_PX)
            _buttons(bridge, person, now, is_refused=present is not None and kind == RECURRING)
    answers.show(bridge, person, PLACE)
    return chosen(now)


def chosen(now: CohortNow) -> Connection:
    """Return the destination that the form is set to."""
    by_name = {place.name: place for place in now.destinations}
    return by_name[st.session_state[_place_key(now.cohort.id)]]


def _follow_address(now: CohortNow) -> None:
    """Set the form to the destination that the address names, where that is another since, or to the first offered."""
    key, asked = _place_key(now.cohort.id), st.query_params.get(TO, "")
    names = [place.name for place in now.destinations]
    if asked and asked not in names:
        text = f"There is no destination {escape_markdown(asked)}, which the address asks for."
        st.warning(text, icon=":material/search_off:")
    is_another = asked in names and st.session_state.get(f"{key}_asked") != asked
    if is_another or st.session_state.get(key) not in names:
        st.session_state[key] = asked if asked in names else names[_first_index(now)]
        st.session_state.pop(_name_key(now.cohort.id), None)  # what is kept is the name of a group at another one
    st.session_state[f"{key}_asked"] = asked


def _keep_place(cohort_id: int, names: ExportNames) -> None:
    """Keep in the address where the form exports to, and give the group the name that it has there.

    A name that was entered stays, where no group has one yet.
    """
    key = _place_key(cohort_id)
    place, entered = st.session_state[key], st.session_state[_name_key(cohort_id)]
    st.session_state[f"{key}_asked"] = place
    set_param(TO, place)
    if place in names.present or entered.strip() in (names.usual, *names.present.values()):
        st.session_state[_name_key(cohort_id)] = names.at(place)


def _name_key(cohort_id: int) -> str:
    return f"cohorts_group_{cohort_id}"


def _place_key(cohort_id: int) -> str:
    return f"cohorts_to_{cohort_id}"


def _explain_why_not(cohort: Cohort) -> bool:
    """Show why a cohort cannot be exported, if that is so."""
    if cohort.of_groups:
        text, icon = (
            "This is a group-analytics cohort: it holds companies or accounts, not users, so no user can be targeted "
            "with it. Choose a cohort of users.",
            "domain",
        )
    elif reason := why_not_exportable(cohort):
        text = f"{escape_markdown(reason)} Save the cohort again in Mixpanel, then refresh the list of cohorts."
        icon = "rule"
    else:
        return False
    st.info(text, title="It cannot be exported", icon=f":material/{icon}:")
    return True


def _heading(now: CohortNow) -> str:
    """Name the kind of what is exported to; to Apptimize as people know it from there."""
    place = chosen(now)
    if place.kind == ConnectionKind.CSV:
        return "Export to a CSV folder"
    return "Export to Apptimize" if is_apptimize(place) else "Export to another receiver"


def _target_fields(now: CohortNow) -> None:
    cohort_id, destinations = now.cohort.id, now.destinations
    left, right = st.columns(2)
    with left:
        _name_field(now)
    right.selectbox(
        "Export to",
        [connection.name for connection in destinations],
        format_func={place.name: f"{place.name} ({kind_text(place)})" for place in destinations}.__getitem__,
        key=_place_key(cohort_id),
        on_change=_keep_place,
        args=(cohort_id, now.export_names),
    )
    if note := words_for(str(destination_rule(chosen(now)) or "")).note:
        st.caption(note)


def _name_field(now: CohortNow) -> None:
    """Ask for the group's name; one that was delivered keeps its name, so that is no field any more."""
    key, place, entered = _name_key(now.cohort.id), chosen(now), st.session_state
    name = now.export_names.at(place.name)
    if now.group_id_at(place) is not None:
        entered[key] = name
        st.caption("Group name")
        st.markdown(f"**{escape_markdown(name)}**", help="A group that was delivered keeps its name.")
        return
    entered.setdefault(key, name)
    st.text_input(
        "Group name",
        key=key,
        help="Apptimize shows it as “Mixpanel: ” and this name, to everyone in the organization. A group that was "
        "delivered keeps its name.",
    )
    page_frame.show_answer(key)


def _first_index(now: CohortNow) -> int:
    """Offer where the cohort went last."""
    names = [place.name for place in now.destinations]
    if last := next((name for name in now.latest_places if name in names), None):
        return names.index(last)
    return usual_index(now.destinations)


def usual_index(destinations: list[Connection]) -> int:
    """Offer Apptimize before other receivers, and those before a folder, which leaves an upload to be done by hand."""

    def rank(index: int) -> tuple[bool, bool]:
        return not is_apptimize(destinations[index]), destinations[index].kind != ConnectionKind.ENDPOINT

    return min(range(len(destinations)), key=rank)


def kind_text(destination: Connection) -> str:
    """Format what kind of destination it is."""
    practice = ", practice" if destination.practice else ""
    if destination.kind == ConnectionKind.CSV:
        return f"CSV folder{practice}"
    return ("Apptimize" if is_apptimize(destination) else "another receiver") + practice


def _explain_present(view: SyncView, kind: str) -> None:
    """Show what the form's button would do to the recurring sync that keeps the group already."""
    sync = view.sync
    every = escape_markdown(timing_phrase(sync))
    if kind == RECURRING:
        text = (
            f"A recurring sync keeps this group already, {every}: a group has one. Change that one, or resume it if it "
            "is paused; its link is above."
        )
    elif sync.state == SyncState.PAUSED:
        paused = f"paused until {clock(sync.paused_until)}" if sync.paused_until else "paused"
        text = f"The sync that keeps this group is {paused}. Start sync exports once, and leaves it paused."
    else:
        text = (
            f"A recurring sync keeps this group up to date, {every}. Start sync exports once more, now, and changes "
            "nothing about that sync."
        )
    st.caption(f":material/sync: {text}", width=_BESIDE_BUTTONS_PX)


def _buttons(bridge: Bridge, person: Actor, now: CohortNow, *, is_refused: bool) -> None:
    cohort_id, arguments = now.cohort.id, (bridge, person, now.cohort.id, now.export_names)
    # One run at a time writes a group: what the buttons would queue has to wait for the one that is on its way.
    is_busy = chosen(now).name in {run.destination for run in now.active}
    st.button(
        "Start sync",
        key=f"cohorts_start_{cohort_id}",
        type="primary",
        icon=":material/play_arrow:",
        disabled=is_busy or is_refused,
        on_click=_start,
        args=arguments,
    )
    st.button(
        "Preview",
        key=f"cohorts_preview_{cohort_id}",
        icon=":material/experiment:",
        disabled=is_busy,
        help="Reads the cohort and shows which members it would add and remove. Writes nothing; costs one query, "
        "as an export does.",
        on_click=_preview,
        args=arguments,
    )


def _start(bridge: Bridge, person: Actor, cohort_id: int, names: ExportNames) -> None:
    start = partial(export_settings.start_entered, bridge, person, cohort_id, names)
    show_started(perform(PLACE, start, fields=_error_places(cohort_id)))


def _preview(bridge: Bridge, person: Actor, cohort_id: int, names: ExportNames) -> None:
    preview = partial(export_settings.preview, bridge, person, cohort_id, names)
    show_started(perform(PLACE, preview, fields=_error_places(cohort_id)))


def _error_places(cohort_id: int) -> dict[str, str]:
    """Return where an error about one of the fields is shown, by the name that it begins with."""
    return sync_settings.error_places("cohorts", cohort_id) | {"Group name": _name_key(cohort_id)}


def show_started(started: Run | Sync | None) -> None:
    """Tell that a run was queued, for a moment, or what the new sync does; a failure has been told."""
    if isinstance(started, Sync):
        page_frame.answer(PLACE, "The sync is active: its first run is due now.", about=subject(started))
    elif started:
        page_frame.toast(f"Run {started.id} was queued.", ":material/schedule:")
