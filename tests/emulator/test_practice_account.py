"""The practice account is asked for at the sandbox, and no other account is, whoever enters it where."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.connections import lookup, mixpanel_connection, removal
from core.connections.mixpanel_connection import MixpanelForm
from core.errors import SettingsError
from core.sandbox import people
from core.vendors.mixpanel_project import REGIONS
from core.vendors.practice import is_practice_account
from data.engine import write_session
from data.models import MIXPANEL_SIDE, Connection
from tests.stage.home import copy_home
from tests.stage.sandbox import Sandbox

PRACTICE = MixpanelForm(
    username=people.ADMIN_USERNAME, secret=SecretStr(people.ADMIN_SECRET), project_id=people.PROJECT_ID, name="second"
)
REAL_SECRET = SecretStr("a-real-secret-of-somebody")


@pytest.fixture
def in_practice(connected_template: Path, tmp_path: Path, sandbox: Sandbox) -> Iterator[Bridge]:
    """Practice mode as `up` sets it up: the sandbox is connected, and what is entered is Mixpanel's own."""
    with copy_home(connected_template, tmp_path / "home").bridge() as bridge:
        yield bridge


def connected(bridge: Bridge) -> Connection:
    return lookup.list_connections(bridge, LOCAL)[0]


def test_the_accounts_of_the_sandbox_are_known_as_that():
    assert all(is_practice_account(account.username) for account in people.ACCOUNTS)
    assert not is_practice_account("sync.ab12.mp-service-account")
    assert not is_practice_account("practice.000000.mp-service-account")


def test_in_practice_mode_the_practice_account_is_asked_for_at_the_sandbox(in_practice: Bridge, sandbox: Sandbox):
    made = mixpanel_connection.connect_mixpanel(in_practice, LOCAL, PRACTICE, if_taken="refuse")

    assert (made.base_url, made.practice) == (sandbox.url, True)

    changed = mixpanel_connection.change_project(in_practice, LOCAL, made.id or 0, PRACTICE)
    assert changed.base_url == sandbox.url


def test_without_a_sandbox_the_practice_account_is_called_that_and_sent_nowhere(in_practice: Bridge):
    for connection in lookup.list_connections(in_practice, LOCAL):
        removal.remove_connection(in_practice, LOCAL, connection.id or 0)

    with pytest.raises(SettingsError, match="an account of the practice sandbox") as refused:
        mixpanel_connection.connect_mixpanel(in_practice, LOCAL, PRACTICE)

    assert refused.value.code == "practice_account"
    assert "make run" in refused.value.advice
    assert not [each for each in lookup.list_connections(in_practice, LOCAL) if each.side == MIXPANEL_SIDE]


def test_a_real_secret_is_not_sent_to_the_sandbox(in_practice: Bridge, sandbox: Sandbox):
    present = connected(in_practice)
    sandbox.forget_requests()

    with pytest.raises(SettingsError, match="which has no such account") as refused:
        mixpanel_connection.replace_secret(
            in_practice, LOCAL, present.id or 0, username="sync.ab12.mp-service-account", secret=REAL_SECRET
        )

    assert "service-accounts" not in sandbox.get("/sandbox/api/requests").text
    assert refused.value.code == "practice_sandbox"
    assert "Change project" in refused.value.advice
    assert connected(in_practice).username == people.ADMIN_USERNAME


def test_the_practice_account_is_not_sent_to_a_connection_of_mixpanel_itself(in_practice: Bridge):
    with write_session(in_practice.engine) as session:
        connection = session.get_one(Connection, connected(in_practice).id)
        connection.base_url, connection.practice = REGIONS["us"], False

    with pytest.raises(SettingsError, match="Nothing was sent"):
        mixpanel_connection.replace_secret(
            in_practice, LOCAL, connected(in_practice).id or 0, username=people.ADMIN_USERNAME, secret=PRACTICE.secret
        )


def test_the_sandboxes_secret_can_be_replaced(in_practice: Bridge, sandbox: Sandbox):
    replaced = mixpanel_connection.replace_secret(
        in_practice, LOCAL, connected(in_practice).id or 0,
        username=people.OWNER_USERNAME, secret=SecretStr(people.OWNER_SECRET),
    )  # fmt: skip

    assert (replaced.base_url, replaced.username) == (sandbox.url, people.OWNER_USERNAME)
