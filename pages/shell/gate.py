"""Who opens a page, and whether they may. The menu is convenience, this is the check."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import streamlit as st

from core.access import people, roles, sign_in
from core.access.roles import LOCAL, Actor, Role
from core.bridge import Bridge
from core.errors import CohortBridgeError, NotAllowed, SettingsError, SignedOut, SignInRefused
from pages.parts.formatting import error_text, escape_markdown, know_reader
from pages.shell import resources, sign_in_setup

_BY_ITSELF = "guard_by_itself"
_NAMES = {"default": "Sign in", "google": "Sign in with Google", "okta": "Sign in with Okta"}
_NAMES |= {"entra": "Sign in with Microsoft", "microsoft": "Sign in with Microsoft"}


def require(role: Role) -> Actor:
    """Return the person who opens the page; end the page with a sentence when they may not.

    Without a sign-in the page offers one, without the role it says why, and who can grant it.
    """
    try:
        person = _visitor()
        st.session_state.pop(_BY_ITSELF, None)
    except SettingsError as exc:
        _close(exc, "The dashboard is closed", icon=":material/lock:")
    except SignedOut as exc:
        _show_sign_in(error_text(exc))
    except SignInRefused as exc:
        _show_refusal(exc)
    except CohortBridgeError as exc:
        _close(exc, "Signing in did not work")
    else:
        if person is not None:
            know_reader(is_admin=person.role >= Role.ADMIN)
            _show_person(person)
            _require_role(person, role)
            return person
        _show_sign_in()
    return st.stop()


def who() -> Actor | None:
    """Return the person who opens the dashboard, for the menu; None while no one is signed in with access."""
    try:
        return _visitor()
    except CohortBridgeError:
        return None


def _visitor() -> Actor | None:
    is_set_up = sign_in_setup.is_set_up()  # first: Streamlit fails on a file that is refused here
    user = st.user.to_dict()
    if not is_set_up and "is_logged_in" not in user:
        sign_in_setup.require_local_visit()
        return LOCAL
    if not user.get("is_logged_in"):
        return None
    return sign_in.admit(resources.bridge(), user, by_itself=bool(st.session_state.get(_BY_ITSELF)))


def redraw() -> NoReturn:
    """Draw the page again because something happened elsewhere: this must not count as a person's click."""
    st.session_state[_BY_ITSELF] = True
    st.rerun()


def _require_role(person: Actor, role: Role) -> None:
    if person.role >= role:
        return
    bridge = resources.bridge()
    try:
        roles.check(bridge, person, role, "open_page")
    except NotAllowed as exc:
        st.error(escape_markdown(exc.message), title="This page is not for your role", icon=":material/lock:")
        if admins := roles.admins(bridge):
            _list_admins("These admins can give it to you:", admins)
        else:
            st.markdown("There is no admin yet: the operator of this machine can name one.")
    except CohortBridgeError as exc:
        st.error(error_text(exc))
    st.stop()


def _list_admins(intro: str, admins: list[str]) -> None:
    st.markdown(f"{intro}\n" + "\n".join(f"- {escape_markdown(admin)}" for admin in admins))


def _close(exc: CohortBridgeError, title: str, *, icon: str = ":material/error:") -> None:
    st.title("Cohort Bridge", anchor=False)
    st.error(error_text(exc), title=title, icon=icon)
    st.stop()


def _show_sign_in(why: str = "") -> None:
    st.title("Cohort Bridge", anchor=False)
    if why:
        st.warning(why, icon=":material/logout:")
    st.markdown("Sign in to see groups, exports and their history.")
    with st.container(width=320):
        for name in sign_in_setup.providers():
            st.button(
                _NAMES.get(name, f"Sign in with {escape_markdown(name.capitalize())}"),
                key=f"guard_sign_in_{name}",
                type="primary",
                icon=":material/login:",
                width="stretch",
                on_click=st.login,
                args=() if name == "default" else (name,),
            )
    st.stop()


def _show_refusal(exc: SignInRefused) -> None:
    st.title("Cohort Bridge", anchor=False)
    st.error(error_text(exc), title="Access denied", icon=":material/lock:")
    bridge = resources.bridge()
    # With an open provider anyone in the world comes this far: who the admins are is for colleagues.
    admins = roles.admins(bridge) if bridge.settings.allowed_domains else []
    if admins and exc.code == sign_in.ACCESS_DENIED:
        _list_admins("These admins can give you access:", admins)
    st.button("Use another account", key="guard_other_account", icon=":material/switch_account:", on_click=st.logout)
    st.stop()


def _show_person(person: Actor) -> None:
    """Show in the sidebar who acts, on every page."""
    with st.sidebar:
        if person.person_id is None:
            st.badge("No sign-in", icon=":material/lock_open:", color="orange")
            st.caption(
                "Only this machine can open the dashboard. Anyone who does acts as its admin, under the name “local”."
            )
            return
        st.markdown(f"**{escape_markdown(person.name)}**")
        st.caption(f"Signed in as {person.role.label}")
        st.button("Sign out", key="guard_sign_out", icon=":material/logout:", on_click=_sign_out, args=(person,))
        st.button(
            "Sign out everywhere",
            key="guard_sign_out_everywhere",
            icon=":material/devices_off:",
            type="tertiary",
            help="Ends your sign-ins in every other browser too.",
            on_click=_sign_out_everywhere,
            args=(person,),
        )


def _sign_out(person: Actor) -> None:
    _end_with(person, sign_in.sign_out)


def _sign_out_everywhere(person: Actor) -> None:
    _end_with(person, people.end_my_sign_ins)


def _end_with(person: Actor, end: Callable[[Bridge, Actor], None]) -> None:
    try:
        end(resources.bridge(), person)
    except NotAllowed:
        pass  # it had ended already
    except CohortBridgeError as exc:
        # The cookie is deleted here, but a copy of it stays valid: that must not look like being signed out.
        st.error(error_text(exc))
        return
    st.logout()
