"""Signed in: who gets in, what each of them sees, and that what an admin decides holds at the next click."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.access import audit_log, people
from core.access.roles import LOCAL, Actor, Role
from core.bridge import Bridge
from core.errors import SignedOut
from core.syncs import one_time, runs
from data.audit import reader
from data.engine import read_session
from data.models import Person
from data.sign_in_models import SignIn
from pages.parts import folded
from pages.shell import resources, strangers
from tests.pages.dashboard import (
    AUDIT,
    COHORTS,
    CONNECTIONS,
    GROUPS,
    HISTORY,
    OVERVIEW,
    PAGES,
    PEOPLE,
    PRACTICE,
    ROOT,
    SYNCS,
    Everything,
    claims,
    drawn,
    first_drawn,
    shown,
    sign_in_as,
)
from tests.stage.clock import FakeClock
from tests.stage.home import export
from tests.stage.sandbox import POWER, Sandbox
from tests.stage.seeds import some

pytestmark = some(40)


def open_as(page: str, user: dict[str, Any], **state: object) -> AppTest:
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30)
    at.user = user
    for name, value in {folded.OPENED: Everything(), **state}.items():
        at.session_state[name] = value
    if page != OVERVIEW:
        at.switch_page(page)
    return first_drawn(at)


@pytest.fixture
def open_sign_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone who signs in becomes a viewer."""
    monkeypatch.setenv("COHORT_BRIDGE_FIRST_SIGN_IN", "viewer")


@pytest.fixture
def dashboard_clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The clock of a dashboard that is opened after this."""
    clock = FakeClock()
    monkeypatch.setattr(resources, "CLOCK", clock.clock)
    return clock


def list_audit_lines(bridge: Bridge) -> list[tuple[str, str, str]]:
    return [(line.who, line.action, line.outcome) for line in reversed(audit_log.list_audit(bridge, LOCAL))]


def get_person_id(bridge: Bridge, email: str) -> int:
    person_id = people.find_person(bridge, LOCAL, email).id
    assert person_id
    return person_id


@pytest.mark.parametrize("page", PAGES)
def test_who_is_not_signed_in_sees_the_way_in_and_nothing_else(practising: Bridge, page: str):
    at = open_as(page, {"is_logged_in": False})

    assert "Sign in to see groups" in shown(at)
    assert [button.label for button in at.button] == ["Sign in"]
    assert not at.dataframe


@pytest.mark.usefixtures("open_sign_in")
def test_a_first_sign_in_makes_a_viewer_and_is_written_down_once(practising: Bridge):
    user = claims()
    for _ in range(2):
        at = open_as(OVERVIEW, user)

    assert "ann@example.com" in shown(at)
    assert "Signed in as viewer" in shown(at)
    views = people.list_people(practising, LOCAL)
    assert [(view.person.email, view.person.name, view.role) for view in views] == [
        ("ann@example.com", "Ann", Role.VIEWER)
    ]
    assert list_audit_lines(practising).count(("ann@example.com", "sign_in", "done")) == 1


@pytest.mark.parametrize("domains", ["", "example.com"])
def test_no_one_is_let_in_by_default_and_colleagues_are_told_who_the_admins_are(
    practising: Bridge, monkeypatch: pytest.MonkeyPatch, domains: str
):
    monkeypatch.setenv("COHORT_BRIDGE_ADMINS", "boss@example.com")
    monkeypatch.setenv("COHORT_BRIDGE_ALLOWED_DOMAINS", domains)

    at = open_as(OVERVIEW, claims())

    assert "ann@example.com has not been added by an admin." in shown(at)
    # Without domains anybody in the world may have an account at the provider.
    assert ("boss@example.com" in shown(at)) == bool(domains)
    assert people.list_people(practising, LOCAL) == []
    assert list_audit_lines(practising)[-1] == ("ann@example.com", "sign_in", "refused")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"email_verified": False}, "does not vouch for the address"),
        ({"email_verified": None}, "does not vouch for the address"),
        ({"email_verified": False, "xms_edov": True}, "does not vouch for the address"),
        ({"email_verified": "no"}, "does not vouch for the address"),
        ({"email_verified": False, "verified_primary_email": ["ann@example.com"]}, "does not vouch for the address"),
        ({"email_verified": None, "verified_primary_email": ["eve@example.com"]}, "does not vouch for the address"),
        ({"email": None}, "did not say your e-mail address"),
        ({"email": "ann"}, "did not say your e-mail address"),
        ({"email": "ann@other.example"}, "not of a domain that may sign in"),
        ({"email": "ann@example.com.evil.example"}, "not of a domain that may sign in"),
        ({"email": "ann@evil.example@example.com"}, "did not say your e-mail address"),
        ({"iat": None}, "did not say who you are and since when"),
        ({"iat": True}, "did not say who you are and since when"),
        ({"iat": 1e300}, "time cannot be read"),
        ({"sub": ""}, "did not say who you are and since when"),
        ({"iss": None}, "did not say who you are and since when"),
        ({"iat": time.time() + 3600}, "issued in the future"),
        ({"iat": time.time() - 13 * 3600}, "A sign-in lasts 12 hours"),
    ],
)
@pytest.mark.usefixtures("open_sign_in")
def test_what_the_provider_does_not_prove_does_not_count(
    practising: Bridge, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], sentence: str
):
    monkeypatch.setenv("COHORT_BRIDGE_ALLOWED_DOMAINS", "example.com, example.org")

    at = open_as(COHORTS, claims(**said))

    assert sentence in shown(at)
    assert not at.dataframe
    assert people.list_people(practising, LOCAL) == []
    assert "can let you in" not in shown(at)


@pytest.mark.parametrize(
    "said", [{"email_verified": "true"}, {"email_verified": None, "xms_edov": 1},
             {"email_verified": None, "verified_primary_email": ["Ann@example.com"]}],
)  # fmt: skip
@pytest.mark.usefixtures("open_sign_in")
def test_the_ways_in_which_providers_vouch_for_an_address(practising: Bridge, said: dict[str, Any]):
    assert "Signed in as viewer" in shown(open_as(OVERVIEW, claims(**said)))


def test_an_address_is_compared_without_case_but_letter_for_letter(practising: Bridge, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COHORT_BRIDGE_ADMINS", "Kim@Example.com")

    assert "Signed in as admin" in shown(open_as(OVERVIEW, claims("KIM@example.COM")))
    assert "has not been added" in shown(open_as(OVERVIEW, claims("\u212aim@example.com")))  # a Kelvin sign is no k


@pytest.mark.parametrize("page", [COHORTS, SYNCS, CONNECTIONS, PEOPLE, AUDIT])
def test_a_page_without_the_role_says_why_and_who_can_grant_it(
    practising: Bridge, monkeypatch: pytest.MonkeyPatch, page: str
):
    monkeypatch.setenv("COHORT_BRIDGE_ADMINS", "boss@example.com")
    people.add_person(practising, LOCAL, "ann@example.com")

    at = open_as(page, claims())

    assert "and ann@example.com has the role viewer." in shown(at)
    assert "boss@example.com" in shown(at)
    assert {button.label for button in at.button} == {"Sign out", "Sign out everywhere"}
    assert not at.title
    assert ("ann@example.com", "open_page", "refused") in list_audit_lines(practising)


def test_a_viewer_finds_no_button_that_would_be_refused(practising: Bridge, sandbox: Sandbox):
    people.add_person(practising, LOCAL, "ann@example.com")
    export(practising, POWER)
    sandbox.fault("server_error", target="apptimize")
    export(practising, POWER, full=True)
    one_time.start_export(practising, LOCAL, POWER)
    user = claims()

    for page, params in (
        (OVERVIEW, {}), (GROUPS, {}), (GROUPS, {"group": "1"}), (PRACTICE, {}),
        (HISTORY, {}), (HISTORY, {"run": "1"}), (HISTORY, {"run": "2"}), (HISTORY, {"run": "3"}),
    ):  # fmt: skip
        at = open_as(page, user)
        at.query_params.update(params)
        text = shown(drawn(at.run()))
        assert "This needs the role" not in text
        pressed = {button.label for button in at.button}
        assert not pressed & {"Run again", "Cancel", "Roll back to this run", "Apply once", "Discard"}


def test_a_role_that_is_taken_away_holds_at_the_next_click(practising: Bridge):
    people.add_person(practising, LOCAL, "ann@example.com", "analyst")
    export(practising, POWER)
    at = open_as(COHORTS, claims())
    at.query_params["cohort"] = str(POWER)
    drawn(at.run())
    people.change_role(practising, LOCAL, get_person_id(practising, "ann@example.com"), "viewer")
    before = runs.count_runs(practising, LOCAL)

    drawn(at.button(key=f"cohorts_start_{POWER}").click().run())

    assert runs.count_runs(practising, LOCAL) == before
    assert "This needs the role analyst, and ann@example.com has the role viewer." in shown(at)


@pytest.mark.parametrize("end", [people.disable_person, people.end_sign_ins])
def test_who_is_shut_out_is_out_at_the_next_click(
    practising: Bridge, end: Callable[[Bridge, Actor, int], Person], monkeypatch: pytest.MonkeyPatch
):
    people.add_person(practising, LOCAL, "ann@example.com", "analyst")
    at = open_as(COHORTS, claims())
    at.query_params["cohort"] = str(POWER)
    drawn(at.run())

    end(practising, LOCAL, get_person_id(practising, "ann@example.com"))
    drawn(at.button(key=f"cohorts_start_{POWER}").click().run())

    assert runs.count_runs(practising, LOCAL) == 0
    assert not at.dataframe
    assert "signed out everywhere" in shown(at) or "was deactivated" in shown(at)
    # The same cookie leads nowhere in another browser either; a new sign-in does, unless they are closed out.
    assert "Signed in as" not in shown(open_as(OVERVIEW, claims(iat=int(time.time()) - 5)))
    later = shown(open_as(OVERVIEW, claims(iat=int(time.time()) + 2)))
    assert ("Signed in as analyst" in later) == (end is people.end_sign_ins)


def test_what_was_frozen_in_a_button_does_not_outlive_the_sign_in(practising: Bridge):
    people.add_person(practising, LOCAL, "ann@example.com", "admin")
    people.add_person(practising, LOCAL, "bob@example.com", "admin")
    open_as(OVERVIEW, claims())
    frozen = _actor(practising, "ann@example.com")
    assert people.list_people(practising, frozen)

    people.end_sign_ins(practising, LOCAL, frozen.person_id or 0)

    with pytest.raises(SignedOut):
        people.list_people(practising, frozen)


def _actor(bridge: Bridge, email: str) -> Actor:
    from sqlmodel import select

    with read_session(bridge.engine) as session:
        person = session.exec(select(Person).where(Person.email == email)).one()
        sign_in = session.exec(select(SignIn).where(SignIn.person_id == person.id)).one()
    return Actor(email, Role.ADMIN, person.id, sign_in.key)


@pytest.mark.usefixtures("open_sign_in")
def test_signing_out_kills_the_cookie_for_good(practising: Bridge):
    user = claims()
    at = open_as(OVERVIEW, user)

    at.button(key="guard_sign_out").click().run()

    assert "You signed out." in shown(open_as(OVERVIEW, user))
    assert ("ann@example.com", "sign_out", "done") in list_audit_lines(practising)


@pytest.mark.usefixtures("open_sign_in")
@pytest.mark.parametrize(("passed_s", "sentence"), [(2 * 3600 + 1, "Nothing was done for 120 minutes"), (60, "")])
def test_a_sign_in_ends_when_nothing_is_done(
    practising: Bridge, dashboard_clock: FakeClock, passed_s: int, sentence: str
):
    user = claims()
    open_as(OVERVIEW, user)
    dashboard_clock.shift_s = passed_s

    at = open_as(OVERVIEW, user)

    assert (sentence or "Signed in as viewer") in shown(at)
    assert ("ann@example.com", "signed_out", "done") in list_audit_lines(practising) or not sentence


@pytest.mark.usefixtures("open_sign_in")
def test_a_page_that_refreshes_itself_does_not_count_as_activity(practising: Bridge, dashboard_clock: FakeClock):
    user = claims()
    open_as(OVERVIEW, user)
    dashboard_clock.shift_s = 119 * 60

    at = open_as(OVERVIEW, user, guard_by_itself=True)

    assert "Signed in as viewer" in shown(at)
    assert "guard_by_itself" not in at.session_state
    dashboard_clock.shift_s = 121 * 60
    assert "Nothing was done for 120 minutes" in shown(open_as(OVERVIEW, user))


@pytest.mark.usefixtures("open_sign_in")
def test_a_sign_in_ends_however_much_is_done(practising: Bridge, dashboard_clock: FakeClock):
    user = claims()
    for hours in range(12):
        dashboard_clock.shift_s = hours * 3600
        assert "Signed in as viewer" in shown(open_as(OVERVIEW, user)), hours

    dashboard_clock.shift_s = 12 * 3600 + 1

    assert "A sign-in lasts 12 hours" in shown(open_as(OVERVIEW, user))


def test_the_last_admin_stays(practising: Bridge):
    people.add_person(practising, LOCAL, "ann@example.com", "admin")
    people.add_person(practising, LOCAL, "bob@example.com")
    at = open_as(PEOPLE, claims())
    ann, bob = get_person_id(practising, "ann@example.com"), get_person_id(practising, "bob@example.com")
    at.query_params["person"] = str(ann)
    drawn(at.run())

    drawn(at.radio(key=f"people_role_{ann}").set_value("viewer").run())
    assert "This is the last admin" in shown(at)
    with pytest.raises(Exception, match="last admin"):
        people.disable_person(practising, LOCAL, ann)

    people.change_role(practising, LOCAL, bob, "admin")
    assert people.change_role(practising, LOCAL, ann, "viewer").role == "viewer"


def test_who_the_settings_name_is_always_an_admin(practising: Bridge, monkeypatch: pytest.MonkeyPatch):
    people.add_person(practising, LOCAL, "ann@example.com")
    people.disable_person(practising, LOCAL, get_person_id(practising, "ann@example.com"))
    monkeypatch.setenv("COHORT_BRIDGE_ADMINS", "ann@example.com")

    at = open_as(PEOPLE, claims(iat=int(time.time()) + 2))
    at.query_params["person"] = str(get_person_id(practising, "ann@example.com"))
    drawn(at.run())

    assert "Signed in as admin" in shown(at)
    assert "COHORT_BRIDGE_ADMINS names this address" in shown(at)
    assert not at.radio


def test_who_the_settings_name_no_more_is_no_admin_any_more(practising: Bridge, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COHORT_BRIDGE_ADMINS", "ann@example.com")
    user = claims()
    assert "Signed in as admin" in shown(open_as(OVERVIEW, user))
    monkeypatch.delenv("COHORT_BRIDGE_ADMINS")
    st.cache_resource.clear()  # settings are read once a process

    assert "Signed in as viewer" in shown(open_as(OVERVIEW, user))


def test_people_are_added_changed_and_shut_out_on_their_page(practising: Bridge):
    people.add_person(practising, LOCAL, "ann@example.com", "admin")
    at = open_as(PEOPLE, claims())
    at.text_input(key="people_email").set_value("Bob@Example.com")
    at.selectbox(key="people_role").set_value("analyst")
    drawn(at.button(key="people_add_yes").click().run())
    assert "bob@example.com can sign in as analyst." in shown(at)

    bob = get_person_id(practising, "bob@example.com")
    at.query_params["person"] = str(bob)
    drawn(at.run())
    people.change_role(practising, LOCAL, bob, "admin")
    drawn(at.radio(key=f"people_role_{bob}").set_value("viewer").run())
    assert "Somebody else has changed this role meanwhile. Nothing was saved." in shown(at)
    assert at.radio(key=f"people_role_{bob}").value == "admin"
    drawn(at.radio(key=f"people_role_{bob}").set_value("viewer").run())
    drawn(at.button(key="people_disable").click().run())
    drawn(at.run())  # whatever draws the page again leaves the dialog open
    drawn(at.button(key="people_disable_yes").click().run())

    with read_session(practising.engine) as session:
        person = session.get_one(Person, bob)
    assert (person.role, person.disabled) == ("viewer", True)
    lines = list_audit_lines(practising)[-4:]
    assert [entry[1] for entry in lines] == ["add_person", "change_role", "change_role", "disable_person"]
    assert [entry[0] for entry in lines] == ["ann@example.com", "local", "ann@example.com", "ann@example.com"]


def test_the_audit_log_is_filtered_and_a_line_shows_before_and_after(practising: Bridge):
    people.add_person(practising, LOCAL, "ann@example.com", "admin")
    people.change_role(practising, LOCAL, get_person_id(practising, "ann@example.com"), "admin")
    people.add_person(practising, LOCAL, "<b>*bob*</b>@example.com".replace("<b>", "").replace("</b>", ""))
    at = open_as(AUDIT, claims())
    at.text_input(key="audit_text").set_value("bob")
    drawn(at.run())
    assert at.dataframe[0].value["Action"].tolist() == ["Add person"]

    line = audit_log.list_audit(practising, LOCAL, reader.AuditFilter(text="bob"))[0]
    at.query_params["line"] = str(line.number)
    drawn(at.run())

    assert f"Line {line.number}: Add person" in shown(at)
    assert "*bob*@example.com,Role,,Viewer" in shown(at)
    assert line.hash in shown(at)


def test_without_sign_in_every_page_says_that_this_machine_is_its_admin(practising: Bridge):
    for page in PAGES:
        text = shown(open_as(page, {}))
        assert "No sign-in" in text
        assert "Anyone who does acts as its admin, under the name “local”." in text


@pytest.mark.parametrize("listens_at", [None, "0.0.0.0", "::", "192.168.1.5", "cohorts.example.com"])
def test_without_sign_in_a_dashboard_that_others_reach_shows_nothing(
    practising: Bridge, monkeypatch: pytest.MonkeyPatch, listens_at: str | None
):
    from streamlit import config

    before = config.get_option("server.address")
    config.set_option("server.address", listens_at)
    try:
        for page in (OVERVIEW, CONNECTIONS):
            at = open_as(page, {})
            assert "Sign-in is not set up, and the dashboard listens at" in shown(at)
            assert not at.button
    finally:
        config.set_option("server.address", before)


def test_a_sign_in_counts_for_a_connection_as_it_does_for_a_page(practising: Bridge):
    vera, stranger = sign_in_as(practising, Role.VIEWER), claims("stranger@elsewhere.example")
    assert not any(map(strangers.is_admitted, (vera, stranger, {}, {"iss": [], "sub": {}, "iat": "now"})))

    for user in (vera, stranger):
        open_as(OVERVIEW, user)
    assert [strangers.is_admitted(user) for user in (vera, stranger)] == [True, False]

    people.disable_person(practising, LOCAL, get_person_id(practising, "vera@example.com"))
    assert not strangers.is_admitted(vera)


def put_at(path: Path, text: str) -> None:
    kind, _, rest = text.removeprefix("(").partition(")")
    if text == "(pipe)":
        os.mkfifo(path)
    elif text == "(folder)":
        path.mkdir()
    elif text == "(link)":
        path.symlink_to("nowhere.toml")
    elif text.startswith("("):
        path.write_text(rest, encoding=kind)
    else:
        path.write_text(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[auth", "cannot be read: it is not TOML"),
        ("\ufeff[auth]", "cannot be read: it is not TOML"),
        ("(utf-16)[auth]", "cannot be read: it is not text in UTF-8"),
        ("(latin-1)[auth] # é", "cannot be read: it is not text in UTF-8"),
        ("(pipe)", "cannot be read: it is a pipe, and no file"),
        ("(folder)", "cannot be read: it is a folder, and no file"),
        ("(link)", "cannot be read (No such file or directory)"),
        ("{bracket}", "redirect_uri in secrets.toml is no address"),
        ("[other]\nx = 1\n", "has no section [auth]"),
        ('[auth]\nclient_id = "x"\n', "redirect_uri"),
        ("{short}", "cookie_secret in secrets.toml is shorter than 32 characters"),
        ("{http}", "does not start with https://"),
        ("{path}", "does not end with /oauth2callback"),
        ("{below}", "does not end with /tools/bridge/oauth2callback"),
        ("{half}", "client_secret"),
    ],
)
def test_sign_in_that_is_set_up_wrong_closes_the_dashboard(
    practising: Bridge, tmp_path: Path, text: str, sentence: str
):
    from streamlit import config
    from streamlit.runtime.secrets import secrets_singleton

    whole = {
        "redirect_uri": "https://cohorts.example.com/oauth2callback",
        "cookie_secret": "c" * 40,
        "client_id": "x",
        "client_secret": "y",
        "server_metadata_url": "https://id.example/.well-known/openid-configuration",
    }
    wrong = {
        "{short}": {"cookie_secret": "short"},
        "{http}": {"redirect_uri": "http://cohorts.example.com/oauth2callback"},
        "{path}": {"redirect_uri": "https://cohorts.example.com/callback"},
        "{below}": {"redirect_uri": "https://cohorts.example.com/oauth2callback"},
        "{bracket}": {"redirect_uri": "https://[cohorts/oauth2callback"},
        "{half}": {"client_secret": None},
    }
    if text in wrong:
        values = {name: value for name, value in (whole | wrong[text]).items() if value}
        text = "[auth]\n" + "\n".join(f'{name} = "{value}"' for name, value in values.items())
    path = tmp_path / "secrets.toml"
    put_at(path, text)
    before = config.get_option("secrets.files")
    config.set_option("secrets.files", [str(path)])
    config.set_option("server.baseUrlPath", "tools/bridge/" if "bridge" in sentence else "")
    secrets_singleton._reset()
    try:
        at = open_as(OVERVIEW, {})
        assert "The dashboard is closed" in shown(at)
        assert sentence in shown(at)
    finally:
        config.set_option("secrets.files", before)
        config.set_option("server.baseUrlPath", "")
        secrets_singleton._reset()
