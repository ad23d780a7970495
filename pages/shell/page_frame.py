"""What every page shows: the heading, practice mode, a missing worker; and what an action answered."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, Literal, ParamSpec

import streamlit as st

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.connections import lookup, service_accounts
from core.errors import CohortBridgeError
from core.leases import workers
from core.reports import overview
from core.vendors import practice
from data.models import MIXPANEL_SIDE, Connection, ConnectionKind, WorkerHeartbeat
from pages.parts import folded, links, selection, whom_to_ask
from pages.parts.formatting import age, error_text, escape_markdown, moment
from pages.shell import resources

Arguments = ParamSpec("Arguments")

PRACTICE_TITLE = "How to connect for real"

_ANSWER, _DIALOG = "frame_answer", "frame_dialog"
# In the session until the page was drawn with the dialog that a press opened.
_DIALOG_TO_DRAW = "frame_dialog_to_draw"
_TOASTS = "frame_toasts"
# The fields whose secrets the action took that is being done.
_TAKEN = "frame_taken"
# The parameters of the address that name what is open on a page.
_OPENS = ("cohort", "sync", "group", "pair", "id", "run", "association", "person", "line", "channel")


def open_page(
    bridge: Bridge, person: Actor, title: str, intro: str, *, with_worker_notice: bool = True
) -> list[Connection]:
    """Show the page's heading and what holds for every page. Returns what is connected.

    `intro` says what a list is for; what is open of it needs none.

    Leads on to another page instead when a click on this one asked for it. A page that reads the workers itself shows
    `show_worker_notice` on its own.
    """
    from pages.shell import search_box  # not above: it is drawn in this frame

    selection.follow()
    st.session_state.pop(_DIALOG_TO_DRAW, None)
    for text, icon in st.session_state.pop(_TOASTS, []):
        st.toast(text, icon=icon)
    _forget_other_pages(title)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title(title, anchor=False)
        with st.container(width="content"):  # a fragment alone takes half of the line, and squeezes its button
            search_box.show(bridge, person)
    if intro:
        st.caption(intro)
    try:
        connections = lookup.list_connections(bridge, person)
    except CohortBridgeError as exc:
        st.error(error_text(exc))
        st.stop()
    if any(connection.practice and connection.side == MIXPANEL_SIDE for connection in connections):
        _show_practice(connections, with_link=title != PRACTICE_TITLE)
    for connection in connections:
        if title != "Connections":
            account_notice(bridge, person, connection)
            if connection.account_trouble and person.role >= Role.ADMIN:
                whom_to_ask.show_way_to_connections(bridge, person)
    if with_worker_notice:
        worker_notice(bridge, person)
    return connections


def account_notice(bridge: Bridge, person: Actor, connection: Connection) -> None:
    """Show that a service account is no longer accepted, or that it expires soon."""
    is_admin = person.role >= Role.ADMIN
    if connection.account_trouble:
        to_do = (
            "Give it the role in Mixpanel's project settings, or connect another account: until then exports may fail."
            if is_admin
            else f"Until an admin gives it the role, or connects another one, exports may fail. "
            f"{whom_to_ask.admins_text(bridge, person)}"
        )
        st.error(
            f"{escape_markdown(connection.account_trouble)} {to_do}",
            title=f"Mixpanel no longer accepts the connection {escape_markdown(connection.name)}",
            icon=":material/key_off:",
        )
    elif service_accounts.expires_soon(connection, resources.bridge().clock.now()):
        st.warning(
            "Before then, connect a new one that has the project role admin or owner in Mixpanel, on Connections."
            if is_admin
            else "Before then, an admin has to connect a new one that has the project role admin or owner in Mixpanel. "
            f"{whom_to_ask.admins_text(bridge, person)}",
            title=f"The service account of {escape_markdown(connection.name)} expires on "
            f"{escape_markdown(moment(connection.account_expires_at))}",
            icon=":material/timer:",
        )


def _show_practice(connections: list[Connection], *, with_link: bool) -> None:
    real = [place.name for place in connections if place.kind == ConnectionKind.ENDPOINT and not place.practice]
    with st.container(horizontal=True, vertical_alignment="center", key="frame_practice"):
        st.badge("Practice mode", icon=":material/science:", color="orange")
        if real:
            names = escape_markdown(", ".join(real))
            st.caption(f"The people are made up, but {names} is a real destination.", width="content")
        else:
            st.caption("Mixpanel, Apptimize and all people are simulated.", width="content")
        if with_link:
            st.page_link(links.PRACTICE, label=PRACTICE_TITLE, icon=":material/arrow_forward:", icon_position="right")


@st.fragment(run_every="5s")
def worker_notice(bridge: Bridge, person: Actor) -> None:
    """Show that queued runs wait because no worker is running, for as long as that is so."""
    with suppress(CohortBridgeError):  # the page itself says that the storage cannot be read
        show_worker_notice(bridge, person, overview.workers(bridge, person))


def show_worker_notice(bridge: Bridge, person: Actor, heartbeats: list[WorkerHeartbeat]) -> None:
    """Show that queued runs wait, unless one of these workers, the latest heartbeat first, is running."""
    if workers.is_one_up(bridge, heartbeats):
        return
    last = f" The last heartbeat was {age(heartbeats[0].seen_at)}." if heartbeats else ""
    who = "Start one" if person.role >= Role.ADMIN else "Ask the operator of Cohort Bridge to start one"
    st.warning(
        f"Nothing is exported until one is: recurring syncs do not run, and new runs wait.{last} {who} "
        "with `python -m core worker`, or everything together with `make run`.",
        title="No worker is running",
        icon=":material/power_off:",
    )


def find_sandbox(connections: list[Connection]) -> str | None:
    """Return the address of the practice sandbox, if one is connected."""
    return practice.sandbox_address(connections)


def answer(place: str, text: str, *, failed: bool = False, about: dict[str, Any] | None = None) -> None:
    """Keep an action's answer, to be shown at `place` until the next action or page, or until something else is open.

    `about` is what it speaks of, as that was then: see `pages/parts/answers.py`.
    """
    taken = st.session_state.pop(_TAKEN, [])
    st.session_state[_ANSWER] = {
        "place": place, "text": text, "failed": failed, "about": about, "opened": _opened(),
        "taken": taken if failed else [],
    }  # fmt: skip


def take_answer_along() -> None:
    """Show the latest action's answer with what was opened since, because that is what it speaks of."""
    if latest := st.session_state.get(_ANSWER):
        st.session_state[_ANSWER] = latest | {"opened": _opened()}


def _opened() -> dict[str, str]:
    """Return what of the address names what is open on the page."""
    return {name: value for name, value in st.query_params.items() if name in _OPENS}


def latest_answer(place: str) -> dict[str, Any] | None:
    """Return the latest action's answer if it belongs at a place, and what it refused was not mended since."""
    latest = st.session_state.get(_ANSWER)
    return latest if latest and latest["place"] == place and not latest.get("mended") else None


def has_failed(place: str) -> bool:
    """Return whether the latest action belongs at a place, and failed."""
    latest = latest_answer(place)
    return bool(latest and latest["failed"])


def forget_answer() -> None:
    """Drop the latest action's answer."""
    st.session_state.pop(_ANSWER, None)
    st.session_state.pop(_TAKEN, None)


def note_taken(key: str) -> None:
    """Note that the action that is being done took the secret out of this field."""
    st.session_state.setdefault(_TAKEN, []).append(key)


def was_taken(key: str) -> bool:
    """Return whether the latest action failed, and took the secret out of this field."""
    latest = st.session_state.get(_ANSWER)
    return bool(latest and key in latest["taken"])


def show_answer(place: str, *fields: str) -> None:
    """Show the latest action's answer if it belongs here.

    One that refuses what a field holds goes once that holds something else: the field of this key, or one of `fields`.
    """
    latest = latest_answer(place)
    if not latest or _was_mended(latest, fields or (place,)):
        return
    if latest["failed"]:
        st.error(latest["text"], icon=":material/error:")
    else:
        st.success(latest["text"], icon=":material/check_circle:")


def _was_mended(latest: dict[str, Any], fields: tuple[str, ...]) -> bool:
    """Return whether what failed was about fields that hold something else by now than when it was first shown."""
    if not latest["failed"]:
        return False
    # Not what they hold: that may be a secret.
    held = hash(repr([st.session_state.get(field) for field in fields]))
    latest["mended"] = latest.setdefault("held", held) != held
    return latest["mended"]


def toast(text: str, icon: str) -> None:
    """Keep what is to be said for a moment until the whole page is drawn.

    What is pressed in a dialog, or in a part that is drawn alone, must not show it itself: it would take the dialog's
    place, and the browser shows a white page once something is drawn into that.
    """
    st.session_state.setdefault(_TOASTS, []).append((text, icon))


def dialog(
    name: str, title: str, *, icon: str, width: Literal["small", "medium", "large"] = "small"
) -> Callable[[Callable[Arguments, None]], Callable[Arguments, None]]:
    """Make a function draw the dialog that `open_dialog` keeps open under this name.

    Its page calls it each time that it is drawn while `dialog_state` has something: Streamlit by itself would close the
    dialog as soon as the page is drawn again, for whatever reason, and with it what was entered. What is pressed in it
    draws it alone; once that has closed it, the page is drawn without it.
    """

    def decorate(draw: Callable[Arguments, None]) -> Callable[Arguments, None]:
        @st.dialog(title, icon=f":material/{icon}:", width=width, on_dismiss=close_dialog)
        @wraps(draw)
        def show(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
            if dialog_state(name) is None:
                st.rerun()
            draw(*args, **kwargs)

        return show

    return decorate


def open_dialog(name: str, state: dict[str, Any]) -> None:
    """Keep a dialog open with its state, whatever draws the page again, until it is closed or the page is left."""
    st.session_state[_DIALOG] = {"name": name, "state": state, "opened": _opened()}
    st.session_state[_DIALOG_TO_DRAW] = True


def redraw_if_asked() -> None:
    """Draw the whole page when a button in this fragment opened a dialog, or has something to say for a moment.

    Both are the page's, not the fragment's.
    """
    if st.session_state.pop(_DIALOG_TO_DRAW, False) or st.session_state.get(_TOASTS):
        st.rerun()


def dialog_state(name: str) -> dict[str, Any] | None:
    """Return the state of a dialog that is open, to be changed in place."""
    dialog = st.session_state.get(_DIALOG)
    return dialog["state"] if dialog and dialog["name"] == name else None


def is_dialog_open() -> bool:
    """Return whether a dialog is open, whichever."""
    return _DIALOG in st.session_state


def close_dialog() -> None:
    """Close the dialog that is open, and forget its state."""
    st.session_state.pop(_DIALOG, None)


def _forget_other_pages(page: str) -> None:
    """Drop what belongs to the page that was shown before, or to what was open on this one."""
    is_other = st.session_state.get("page", page) != page
    st.session_state["page"] = page
    dialog, latest = st.session_state.get(_DIALOG), st.session_state.get(_ANSWER)
    if dialog and (is_other or dialog["opened"] != _opened()):
        close_dialog()
    if latest and (is_other or latest["opened"] != _opened()):
        forget_answer()
    if is_other:
        folded.forget()
