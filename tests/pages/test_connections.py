"""Connections: tested when saved, each failure with its own sentence, secrets never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.connections import lookup
from core.sandbox import people
from tests.pages.dashboard import CONNECTIONS, drawn, open_page, shown
from tests.stage.home import export
from tests.stage.sandbox import POWER, Sandbox


def enter_mixpanel(at: AppTest, **entered: str) -> AppTest:
    values = {
        "username": people.ADMIN_USERNAME,
        "secret": people.ADMIN_SECRET,
        "project": str(people.PROJECT_ID),
        **entered,
    }
    for name, value in values.items():
        at.text_input(key=f"connections_{name}").set_value(value)
    return drawn(at.button(key="connections_mixpanel_save").click().run())


def enter_apptimize(at: AppTest, **entered: str) -> AppTest:
    for name, value in entered.items():
        at.text_input(key=f"connections_{name}").set_value(value)
    return drawn(at.button(key="connections_apptimize_save").click().run())


@pytest.fixture
def page(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The page on the first day, with the sandbox in Mixpanel's place."""
    monkeypatch.setenv("COHORT_BRIDGE_MIXPANEL_URL", sandbox.url)
    return open_page(CONNECTIONS)


def test_a_project_is_connected_and_of_its_secret_four_characters_are_shown(page: AppTest):
    enter_mixpanel(page)

    text = shown(page)
    assert f"Project {people.PROJECT_ID} is connected as default." in text
    assert f"secret ••••{people.ADMIN_SECRET[-4:]}" in text
    assert people.ADMIN_SECRET not in text


def test_what_was_typed_as_a_secret_does_not_stay_in_the_session(page: AppTest):
    enter_mixpanel(page, project="77")

    assert page.text_input(key="connections_secret").value == ""
    assert people.ADMIN_SECRET not in str(page.session_state.to_dict())


@pytest.mark.parametrize(
    ("entered", "sentence"),
    [
        ({"secret": "wrong"}, "Mixpanel does not accept the service account's username and secret."),
        ({"project": "999"}, "The service account is not an admin of this Mixpanel project."),
        (
            {"username": people.ANALYST_USERNAME, "secret": people.ANALYST_SECRET},
            "The service account is not an admin of this Mixpanel project.",
        ),
        ({"secret": ""}, "Secret: this is needed."),
        ({"username": " "}, "Username: this is needed."),
        ({"project": "12x"}, "Project id: this is a whole number"),
        ({"workspace": "abc"}, "Workspace id: this is a whole number"),
    ],
)
def test_each_failure_of_mixpanel_has_its_own_sentence(page: AppTest, entered: dict[str, str], sentence: str):
    enter_mixpanel(page, **entered)

    assert sentence in shown(page)
    assert "Connected" not in [one.value for one in page.markdown]
    if "project" not in entered:
        assert page.text_input(key="connections_project").value == str(people.PROJECT_ID)


def test_an_endpoint_is_connected_with_its_token(page: AppTest, sandbox: Sandbox):
    enter_apptimize(page, token=sandbox.token, endpoint=sandbox.endpoint)

    assert "Apptimize is connected as default." in shown(page)
    assert f"token ••••{sandbox.token[-4:]}" in shown(page)
    assert sandbox.token not in shown(page) + str(page.session_state.to_dict())


@pytest.mark.parametrize(
    ("token", "endpoint", "sentence"),
    [
        ("wrong", "{url}/apptimize/cohort-sync", "Token: the endpoint does not accept it."),
        ("", "{url}/apptimize/cohort-sync", "Token: this is needed."),
        ("x", "http://127.0.0.1:9/", "what answers is not the practice sandbox"),
        ("x", "no address", "Endpoint: enter a whole address that starts with https://."),
        ("x", "http://hooks.example/", "Endpoint: only https addresses are accepted"),
    ],
)
def test_each_failure_of_the_endpoint_has_its_own_sentence(
    page: AppTest, sandbox: Sandbox, token: str, endpoint: str, sentence: str
):
    enter_apptimize(page, token=token, endpoint=endpoint.format(url=sandbox.url))

    assert sentence in shown(page)


def test_a_folder_is_connected(page: AppTest, tmp_path: Path):
    page.text_input(key="connections_folder").set_value(str(tmp_path / "groups"))
    drawn(page.button(key="connections_csv_save").click().run())

    assert f"Groups can be written to {tmp_path / 'groups'} as csv." in shown(page)


def test_saving_again_under_the_same_name_replaces(practising: Bridge, sandbox: Sandbox):
    token = sandbox.post("/sandbox/api/tokens", json={"name": "New"}).json()["token"]

    enter_apptimize(open_page(CONNECTIONS), token=token)

    found = [one for one in lookup.list_connections(practising, LOCAL) if one.kind == "endpoint"]
    assert [one.secret_end for one in found] == [token[-4:]]


def test_removing_names_what_is_affected_first(practising: Bridge):
    export(practising, POWER)
    at = open_page(CONNECTIONS)
    destination = next(one for one in lookup.list_connections(practising, LOCAL) if one.kind == "endpoint")

    drawn(at.button(key=f"connections_remove_{destination.id}").click().run())

    assert "1 group can no longer be updated through it" in shown(at)
    assert "Power users" in shown(at)
    assert destination in lookup.list_connections(practising, LOCAL)

    drawn(at.button(key="connections_remove_yes").click().run())
    assert destination.id not in [one.id for one in lookup.list_connections(practising, LOCAL)]


def test_a_simplified_project_that_is_matched_on_another_property_is_warned_about(page: AppTest):
    page.radio(key="connections_merge").set_value("simplified")
    page.text_input(key="connections_property").set_value("email")
    drawn(page.run())
    assert "may not be attributed to the right user" in shown(page)

    enter_mixpanel(page)
    drawn(page.text_input(key="connections_property").set_value("").run())

    assert "Simplified ID merge, matched on email" in shown(page)
    assert "may not be attributed to the right user" in shown(page)
