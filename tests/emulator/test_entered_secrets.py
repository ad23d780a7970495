"""What is entered to connect is tried as it is stored: without blanks around it, and never with what no secret has."""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import replace

import pytest
from pydantic import SecretStr

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.connections import destinations, mixpanel_connection
from core.connections.mixpanel_connection import MixpanelForm
from core.errors import SettingsError
from core.sandbox import people
from tests.stage.home import PRACTICE, Home
from tests.stage.sandbox import Sandbox
from tests.stage.seeds import few, some

pytestmark = some(8)

HIDDEN = "a-hidden-secret"
# No-break spaces and marks of direction come along when a secret is copied from a page.
NO_SECRETS = [
    f"{HIDDEN}\u200b", f"\ufeff{HIDDEN}", f"gr\xfc\xdfe{HIDDEN}", f"{HIDDEN}\n{HIDDEN}", f"{HIDDEN}\x00x",
    os.fsdecode(b"\xe9") + HIDDEN, f"\u202e{HIDDEN}", HIDDEN * 100, "", " \n\t ",
]  # fmt: skip


@pytest.fixture
def bridge(sandbox: Sandbox, empty_home: Home) -> Generator[Bridge]:
    with empty_home.bridge(mixpanel_url=sandbox.url) as opened:
        yield opened


def test_blanks_around_what_is_entered_for_mixpanel_are_none_of_it(sandbox: Sandbox, bridge: Bridge):
    form = MixpanelForm(
        username=f" {people.ADMIN_USERNAME}\n",
        secret=SecretStr(f"\t{people.ADMIN_SECRET} \n"),
        project_id=f" {people.PROJECT_ID} ",
        workspace_id=" ",
        project_token=SecretStr(f" {people.PROJECT_TOKEN}\r\n"),
    )

    connection = mixpanel_connection.connect_mixpanel(bridge, LOCAL, form)
    replaced = mixpanel_connection.replace_secret(
        bridge, LOCAL, connection.id or 0, username=form.username, secret=form.secret
    )

    for stored in (connection, replaced):
        assert (stored.username, stored.workspace_id) == (people.ADMIN_USERNAME, None)
        assert bridge.vault.decrypt(stored.secret) == people.ADMIN_SECRET
        assert bridge.vault.decrypt(stored.project_token) == people.PROJECT_TOKEN


def test_blanks_around_what_is_entered_for_apptimize_are_none_of_it(sandbox: Sandbox, bridge: Bridge):
    connection = destinations.connect_endpoint(
        bridge, LOCAL, url=f"\n{sandbox.endpoint} ", token=SecretStr(f" {sandbox.token}\n")
    )

    assert (connection.url, bridge.vault.decrypt(connection.secret)) == (sandbox.endpoint, sandbox.token)


def test_the_same_holds_of_a_secret_of_the_environment(sandbox: Sandbox, empty_home: Home):
    done = empty_home.run(
        "connect", "mixpanel", "--username", people.ADMIN_USERNAME, "--project-id", people.PROJECT_ID,
        env={"COHORT_BRIDGE_MIXPANEL_URL": sandbox.url, "COHORT_BRIDGE_MIXPANEL_SECRET": f" {people.ADMIN_SECRET}\r\n"},
    )  # fmt: skip

    assert (done.code, done.err) == (0, "")


@few(4)
@pytest.mark.parametrize("text", NO_SECRETS)
def test_what_no_secret_has_is_refused_before_anybody_is_asked(sandbox: Sandbox, bridge: Bridge, text: str):
    secret = SecretStr(text)
    entered = {
        "Secret": lambda: mixpanel_connection.connect_mixpanel(bridge, LOCAL, replace(PRACTICE, secret=secret)),
        "Token": lambda: destinations.connect_endpoint(bridge, LOCAL, url=sandbox.endpoint, token=secret),
        "Project token": lambda: mixpanel_connection.set_project_token(bridge, LOCAL, 1, secret),
    }
    if text.strip():  # it may be left out
        form = replace(PRACTICE, project_token=secret)
        entered["Project token "] = lambda: mixpanel_connection.connect_mixpanel(bridge, LOCAL, form)

    for field, enter in entered.items():
        with pytest.raises(SettingsError, match=f"^{field.strip()}: ") as caught:
            enter()
        assert HIDDEN not in caught.value.message + caught.value.advice

    assert sandbox.log()["requests"] == []


@few(4)
@pytest.mark.parametrize(
    ("field", "form"),
    [
        ("Username", replace(PRACTICE, username="some:one")),
        ("Username", replace(PRACTICE, username="someone\u200b")),
        ("Username", replace(PRACTICE, username=" ")),
        ("Project id", replace(PRACTICE, project_id="9" * 5000)),
        ("Project id", replace(PRACTICE, project_id="１２")),
        ("Project id", replace(PRACTICE, project_id="-1")),
        ("Workspace id", replace(PRACTICE, workspace_id="1e3")),
        ("Match property", replace(PRACTICE, match_property="a\x00b")),
        ("Region", replace(PRACTICE, region="mars")),
    ],
)
def test_every_other_field_of_a_project_is_checked_before_too(
    sandbox: Sandbox, bridge: Bridge, field: str, form: MixpanelForm
):
    with pytest.raises(SettingsError, match=f"^{field}: "):
        mixpanel_connection.connect_mixpanel(bridge, LOCAL, form)

    assert sandbox.log()["requests"] == []


@pytest.mark.parametrize(
    "url",
    ["", "https://h\n/x", "https://\x00h/", os.fsdecode(b"https://h/\xe9"), "https://h/" + "x" * 3000, "https://[::1/"],
)
def test_an_address_that_is_none_is_refused(sandbox: Sandbox, bridge: Bridge, url: str):
    with pytest.raises(SettingsError, match="^Endpoint: "):
        destinations.connect_endpoint(bridge, LOCAL, url=url, token=SecretStr(sandbox.token))

    assert sandbox.log()["requests"] == []


@pytest.mark.parametrize("folder", ["", "a\x00b", os.fsdecode(b"/tmp/\xe9"), "x" * 300])
def test_a_folder_that_is_none_is_refused(bridge: Bridge, folder: str):
    with pytest.raises(SettingsError, match="^Folder: "):
        destinations.connect_csv(bridge, LOCAL, folder=folder)
