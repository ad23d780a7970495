"""Connections: tested when saved, each failure with its own sentence, secrets never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlmodel import select
from streamlit.testing.v1 import AppTest

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.connections import destinations, lookup, mixpanel_connection
from core.sandbox import people
from core.syncs import recurring
from data.engine import write_session
from data.models import Connection, ConnectionKind
from pages.parts import folded
from tests.pages.dashboard import CONNECTIONS, drawn, first_drawn, open_folded, open_page, shown
from tests.stage.home import export, group_row
from tests.stage.sandbox import POWER, SPENDERS, Sandbox


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
def page(first_day: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The page on the first day, with the sandbox in Mixpanel's place."""
    monkeypatch.setenv("COHORT_BRIDGE_MIXPANEL_URL", sandbox.url)
    return open_page(CONNECTIONS)


def test_a_project_is_connected_and_of_its_secret_four_characters_are_shown(page: AppTest):
    enter_mixpanel(page)

    text = shown(page)
    assert f"Project {people.PROJECT_ID} is connected as default." in text
    assert "enter it again" not in text
    assert f"secret ••••{people.ADMIN_SECRET[-4:]}" in text
    assert people.ADMIN_SECRET not in text


def test_a_form_that_is_folded_is_drawn_once_it_is_opened_and_keeps_what_is_entered(practising: Bridge):
    at = first_drawn(open_folded(CONNECTIONS))
    assert "connections_endpoint" not in [field.key for field in at.text_input]

    at.session_state["connections_apptimize"] = True
    drawn(at.run())
    drawn(at.text_input(key="connections_endpoint").set_value("https://e.example/in").run())
    at.session_state["connections_apptimize"] = False

    assert drawn(at.run()).text_input(key="connections_endpoint").value == "https://e.example/in"


def test_what_was_typed_as_a_secret_does_not_stay_in_the_session(page: AppTest):
    enter_mixpanel(page, project="77")

    assert page.text_input(key="connections_secret").value == ""
    assert shown(page).count("secrets are not kept: enter it again.") == 1
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
        ({"username": "\u200b"}, "Username: this is needed."),
        (
            {"username": f"{people.ANALYST_USERNAME}\u200b"},
            "Username: it begins or ends with an invisible character.",
        ),
        ({"secret": f"{people.ADMIN_SECRET}\ufeff"}, "Secret: it holds an invisible character."),
        ({"project": "12x"}, "Project id: this is a whole number"),
        ({"workspace": "abc"}, "Workspace id: this is a whole number"),
        ({"property": "$email"}, "Match property: "),
    ],
)
def test_each_failure_of_mixpanel_has_its_own_sentence(page: AppTest, entered: dict[str, str], sentence: str):
    enter_mixpanel(page, **entered)

    assert sentence in shown(page)
    assert "Connected" not in [element.value for element in page.markdown]
    if "project" not in entered:
        assert page.text_input(key="connections_project").value == str(people.PROJECT_ID)


def test_a_connection_whose_last_run_failed_says_so_until_it_is_checked_again(practising: Bridge, sandbox: Sandbox):
    sandbox.fault("unauthorized", target="mixpanel")
    run = export(practising, POWER)
    sandbox.clear_faults()

    text = shown(open_page(CONNECTIONS))

    assert "The last run that used it failed, just now. Mixpanel does not accept the service account" in text
    assert f"Run {run.id} in History" in text
    with write_session(practising.engine) as session:
        session.exec(
            select(Connection).where(Connection.kind == ConnectionKind.MIXPANEL)
        ).one().checked_at = practising.clock.now()
    assert "The last run that used it failed" not in shown(open_page(CONNECTIONS))


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


def test_the_form_of_a_folder_closes_once_it_is_connected_and_opens_as_at_first(practising: Bridge, tmp_path: Path):
    at = open_box(first_drawn(open_folded(CONNECTIONS)), "connections_csv")
    at.text_input(key="connections_folder").set_value(str(tmp_path / "groups"))

    drawn(at.button(key="connections_csv_save").click().run())

    assert f"Groups can be written to {tmp_path / 'groups'} as csv." in shown(at)
    assert (at.session_state["connections_csv"], at.session_state[folded.OPENED]) == (False, {})
    open_box(at, "connections_csv")
    assert at.text_input(key="connections_folder").value == ""
    assert at.text_input(key="connections_csv_name").value == "csv-2"


def test_a_form_closes_once_what_it_asks_for_is_connected_and_stays_until_then(practising: Bridge, sandbox: Sandbox):
    at = open_box(first_drawn(open_folded(CONNECTIONS)), "connections_mixpanel")
    enter_mixpanel(at, project="12x")
    assert at.text_input(key="connections_project").value == "12x"
    enter_mixpanel(at)
    assert "connections_project" not in [field.key for field in at.text_input]
    open_box(at, "connections_mixpanel")
    assert [at.text_input(key=f"connections_{name}").value for name in ("username", "project")] == ["", ""]

    open_box(at, "connections_apptimize")
    drawn(at.radio(key="connections_choice").set_value(0).run())
    enter_apptimize(at, token=new_token(sandbox, "Theirs"))
    assert "connections_token" not in [field.key for field in at.text_input]


def open_box(at: AppTest, key: str) -> AppTest:
    at.session_state[key] = True
    return drawn(at.run())


def endpoints(bridge: Bridge) -> list[Connection]:
    return [connection for connection in lookup.list_connections(bridge, LOCAL) if connection.kind == "endpoint"]


def new_token(sandbox: Sandbox, workspace: str = "") -> str:
    return sandbox.post("/sandbox/api/tokens", json={"name": "New", "workspace": workspace}).json()["token"]


def test_the_first_offer_for_a_connected_address_replaces_the_token(practising: Bridge, sandbox: Sandbox):
    export(practising, POWER)
    token = new_token(sandbox)
    at = open_page(CONNECTIONS)

    assert "This address is connected already as default." in shown(at)
    assert "1 group will be in doubt" in shown(at)
    enter_apptimize(at, token=token)

    assert "Apptimize is connected as default." in shown(at)
    assert [connection.secret_end for connection in endpoints(practising)] == [token[-4:]]
    assert group_row(practising, POWER).in_doubt


def test_another_workspace_at_an_address_is_connected_under_a_free_name_and_shown(practising: Bridge, sandbox: Sandbox):
    token = new_token(sandbox, "Theirs")
    at = open_page(CONNECTIONS)

    drawn(at.radio(key="connections_choice").set_value(0).run())
    assert at.text_input(key="connections_endpoint_name").value == "default-2"
    enter_apptimize(at, token=token)

    assert "Apptimize is connected as default-2." in shown(at)
    assert "The same address as default, another workspace: the groups are kept apart." in shown(at)
    assert [(connection.name, connection.apart) for connection in endpoints(practising)] == [
        ("default", False),
        ("default-2", True),
    ]


def test_an_address_that_is_entered_at_once_is_refused_where_it_is_connected_already(
    practising: Bridge, sandbox: Sandbox
):
    at = open_page(CONNECTIONS)
    drawn(at.text_input(key="connections_endpoint").set_value("").run())

    enter_apptimize(at, token=new_token(sandbox), endpoint=f"{sandbox.endpoint}/", endpoint_name="other")

    assert "connected already as default, with another token" in shown(at)
    assert len(endpoints(practising)) == 1


def test_a_name_that_is_taken_is_refused_with_a_free_one(practising: Bridge, tmp_path: Path):
    at = open_page(CONNECTIONS)
    at.text_input(key="connections_folder").set_value(str(tmp_path / "groups"))
    at.text_input(key="connections_csv_name").set_value("default")
    drawn(at.button(key="connections_csv_save").click().run())

    assert "there is a connection default already" in shown(at)
    assert "such as default-2" in shown(at)


def test_replacing_a_token_names_what_is_affected_and_tells_what_is_wrong(practising: Bridge, sandbox: Sandbox):
    export(practising, POWER)
    recurring.add_sync(practising, LOCAL, POWER)
    at = open_page(CONNECTIONS)
    (present,) = endpoints(practising)

    drawn(at.button(key=f"connections_token_{present.id}").click().run())
    assert "1 group, kept by 1 recurring sync, will be in doubt" in shown(at)
    assert "Power users" in shown(at)
    at.text_input(key="connections_replace_token").set_value("wrong")
    drawn(at.button(key="connections_dialog_save").click().run())
    assert "Token: the endpoint does not accept it." in shown(at)
    assert not group_row(practising, POWER).in_doubt

    token = new_token(sandbox)
    drawn(at.run())  # whatever draws the page again leaves the dialog open
    at.text_input(key="connections_replace_token").set_value(token)
    drawn(at.button(key="connections_dialog_save").click().run())

    assert "The token of default was replaced." in shown(at)
    assert token not in shown(at) + str(at.session_state.to_dict())
    assert [connection.secret_end for connection in endpoints(practising)] == [token[-4:]]
    assert group_row(practising, POWER).in_doubt


def test_of_groups_without_a_recurring_sync_it_is_said_that_they_wait_for_an_export(practising: Bridge):
    export(practising, POWER)
    export(practising, SPENDERS)
    recurring.add_sync(practising, LOCAL, POWER)
    at = open_page(CONNECTIONS)
    (present,) = endpoints(practising)

    drawn(at.button(key=f"connections_token_{present.id}").click().run())

    assert "2 groups, 1 of them with a recurring sync, will be in doubt" in shown(at)
    assert "stays in doubt until its cohort is exported again" in shown(at)


def test_a_second_project_is_told_not_to_be_in_use(practising: Bridge):
    with write_session(practising.engine) as session:
        first = session.exec(select(Connection).where(Connection.kind == ConnectionKind.MIXPANEL)).one()
        session.add(Connection(**first.model_dump(exclude={"id", "name"}), name="another"))

    text = shown(open_page(CONNECTIONS))

    assert text.count("Not in use: cohorts are listed and exported through default.") == 1


def test_an_address_is_changed_at_its_connection(practising: Bridge, sandbox: Sandbox):
    at = open_page(CONNECTIONS)
    (present,) = endpoints(practising)
    drawn(at.button(key=f"connections_address_{present.id}").click().run())

    at.text_input(key="connections_change_url").set_value(f"{sandbox.endpoint}?of=us")
    at.text_input(key="connections_change_token").set_value(sandbox.token)
    drawn(at.button(key="connections_dialog_save").click().run())

    assert "default leads to another address now." in shown(at)
    assert [connection.url for connection in endpoints(practising)] == [f"{sandbox.endpoint}?of=us"]


def test_a_dialog_saves_nothing_over_what_somebody_else_has_entered_since_it_was_opened(
    practising: Bridge, sandbox: Sandbox, tmp_path: Path
):
    folder = destinations.connect_csv(practising, LOCAL, folder=str(tmp_path / "groups"))
    at = open_page(CONNECTIONS)
    drawn(at.button(key=f"connections_folder_{folder.id}").click().run())
    destinations.change_folder(practising, LOCAL, folder.id or 0, folder=str(tmp_path / "theirs"))

    drawn(at.run())
    at.text_input(key="connections_change_folder").set_value(str(tmp_path / "mine"))
    drawn(at.button(key="connections_dialog_save").click().run())

    assert "Somebody else has changed this connection meanwhile. Nothing was saved." in shown(at)
    drawn(at.button(key="connections_dialog_save_no").click().run())
    assert "frame_dialog" not in at.session_state
    drawn(drawn(at.run()).button(key=f"connections_folder_{folder.id}").click().run())
    assert at.text_input(key="connections_change_folder").value == str(tmp_path / "theirs")


def test_match_settings_follow_what_others_store_and_save_nothing_over_it_unseen(practising: Bridge):
    at = open_page(CONNECTIONS)
    project = lookup.find_mixpanel(practising).id or 0
    key = f"connections_match_property_{project}"
    mixpanel_connection.change_match_setting(practising, LOCAL, project, match_property="crm", expects_prefix=False)

    at.text_input(key=key).set_value("mine")
    drawn(at.button(key=f"connections_match_save_{project}").click().run())
    assert "Somebody else has changed this connection meanwhile. Nothing was saved." in shown(at)

    at.text_input(key=key).set_value("$email")
    drawn(at.button(key=f"connections_match_save_{project}").click().run())
    assert "Match property: " in shown(at)
    at.text_input(key=key).set_value("")
    drawn(at.button(key=f"connections_match_save_{project}").click().run())
    assert at.text_input(key=key).value == lookup.find_mixpanel(practising).match_property == "$apptimize_user_id"
    assert at.radio(key=f"connections_match_prefix_{project}").value == "No"


def test_a_secret_and_a_project_are_changed_at_their_connection(practising: Bridge):
    at = open_page(CONNECTIONS)
    project = next(
        connection for connection in lookup.list_connections(practising, LOCAL) if connection.side == "mixpanel"
    )
    drawn(at.button(key=f"connections_secret_{project.id}").click().run())
    at.text_input(key="connections_replace_secret").set_value(people.ADMIN_SECRET)
    drawn(at.button(key="connections_dialog_save").click().run())
    assert "default asks with another secret now." in shown(at)

    drawn(at.button(key=f"connections_project_{project.id}").click().run())
    for name, value in (
        ("username", people.ADMIN_USERNAME), ("secret", people.ADMIN_SECRET), ("project", str(people.PROJECT_ID)),
    ):  # fmt: skip
        at.text_input(key=f"connections_change_{name}").set_value(value)
    at.radio(key="connections_change_merge").set_value("simplified")
    drawn(at.button(key="connections_dialog_save").click().run())

    assert f"default leads to project {people.PROJECT_ID} now." in shown(at)
    assert "Simplified ID merge, matched on $user_id." in shown(at)


def test_a_folder_is_changed_at_its_connection(practising: Bridge, tmp_path: Path):
    folder = destinations.connect_csv(practising, LOCAL, folder=str(tmp_path / "groups"))
    at = open_page(CONNECTIONS)
    drawn(at.button(key=f"connections_folder_{folder.id}").click().run())

    at.text_input(key="connections_change_folder").set_value(str(tmp_path / "other"))
    drawn(at.button(key="connections_dialog_save").click().run())

    assert "csv writes to another folder now." in shown(at)


def test_twins_of_an_earlier_version_are_shown_until_it_is_said_that_they_are_apart(
    practising: Bridge, sandbox: Sandbox
):
    (first,) = endpoints(practising)
    with write_session(practising.engine) as session:
        secret = practising.vault.encrypt(new_token(sandbox, "Theirs"))
        values = {"side": "destination", "kind": "endpoint", "name": "twin", "url": f"{first.url}/", "secret": secret}
        session.add(Connection(created_at=practising.clock.now(), **values))
    at = open_page(CONNECTIONS)
    twin = next(connection for connection in endpoints(practising) if connection.name == "twin")
    assert "Leads to the same place as twin" in shown(at)

    drawn(at.button(key=f"connections_apart_{twin.id}").click().run())
    drawn(at.button(key="connections_apart_yes").click().run())

    assert "The groups of twin are kept apart." in shown(at)
    assert "Leads to the same place as" not in shown(at)


def test_removing_names_what_is_affected_first(practising: Bridge):
    export(practising, POWER)
    at = open_page(CONNECTIONS)
    destination = next(
        connection for connection in lookup.list_connections(practising, LOCAL) if connection.kind == "endpoint"
    )

    drawn(at.button(key=f"connections_remove_{destination.id}").click().run())

    assert "1 group can no longer be updated through it" in shown(at)
    assert "Power users" in shown(at)
    assert destination in lookup.list_connections(practising, LOCAL)

    drawn(at.button(key="connections_remove_yes").click().run())
    assert destination.id not in [connection.id for connection in lookup.list_connections(practising, LOCAL)]


def test_a_simplified_project_that_is_matched_on_another_property_is_warned_about(page: AppTest):
    page.radio(key="connections_merge").set_value("simplified")
    page.text_input(key="connections_property").set_value("crm_id")
    drawn(page.run())
    assert "may not be attributed to the right user" in shown(page)

    enter_mixpanel(page)
    drawn(page.text_input(key="connections_property").set_value("").run())

    assert "Simplified ID merge, matched on crm_id" in shown(page)
    assert "may not be attributed to the right user" in shown(page)
