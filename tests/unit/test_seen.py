"""Saving over what somebody saw: what others stored meanwhile stays, and of a form all is stored or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr
from sqlmodel import SQLModel, select

from core.access import people
from core.access.roles import LOCAL, Role
from core.alerts import channels, listing
from core.alerts.channels import ChannelForm
from core.bridge import Bridge
from core.connections import destinations, entering, mixpanel_connection
from core.errors import ChangedMeanwhile, NotConnected, SettingsError
from core.syncs import one_time, settings
from data import alert_states, connections
from data.alert_models import AlertChannel
from data.engine import read_session, write_session
from data.models import Connection, Group, Person, Schedule, Sync, SyncKind
from data.outbox_models import AlertSetting
from data.run_queue import RunRequest
from data.syncs import SyncPlace
from tests.stage.rows import change_row


@dataclass(frozen=True)
class Form:
    """A form that saves what it holds of a row: how it is looked at, and how `what` is saved over that."""

    table: type[SQLModel]
    see: Callable[[Bridge, Any], Any]
    save: Callable[[Bridge, str, Any], object]


def edit_sync(bridge: Bridge, what: str, seen: Any) -> object:
    return settings.edit_sync(bridge, LOCAL, 1, every_minutes=60, max_shrink=None, tags=[what], seen=seen)


def set_times(bridge: Bridge, what: str, seen: Any) -> object:
    at = Schedule(f"{len(what)} 8 * * *", "UTC")
    return settings.edit_sync(bridge, LOCAL, 1, schedule=at, max_shrink=None, seen=seen)


def match_sync(bridge: Bridge, what: str, seen: Any) -> object:
    return settings.change_sync_matching(bridge, LOCAL, 1, match_property=what, seen=seen)


def match_project(bridge: Bridge, what: str, seen: Any) -> object:
    return mixpanel_connection.change_match_setting(
        bridge, LOCAL, 1, match_property=what, expects_prefix=None, seen=seen
    )


def change_folder(bridge: Bridge, what: str, seen: Any) -> object:
    folder = str(bridge.settings.home / what)
    return destinations.change_folder(bridge, LOCAL, 2, folder=folder, seen=seen)


def edit_channel(bridge: Bridge, what: str, seen: Any) -> object:
    return channels.edit_channel(bridge, LOCAL, 1, ChannelForm(what), seen=seen)


def change_role(bridge: Bridge, what: str, seen: Any) -> object:
    role = {"theirs": "analyst", "mine": "viewer"}[what]
    return people.change_role(bridge, LOCAL, 1, role, seen=seen)


def set_failing_after(bridge: Bridge, what: str, seen: Any) -> object:
    return listing.set_failing_after(bridge, LOCAL, len(what), seen=seen)


FORMS = {
    "interval and tags": Form(Sync, lambda _, row: settings.see_settings(row), edit_sync),
    "set times": Form(Sync, lambda _, row: settings.see_settings(row), set_times),
    "matching of a sync": Form(Sync, lambda _, row: settings.see_matching(row), match_sync),
    "matching of a project": Form(Connection, lambda _, row: entering.see_connection(row), match_project),
    "folder": Form(Connection, lambda _, row: entering.see_connection(row), change_folder),
    "channel": Form(AlertChannel, lambda _, row: channels.see_channel(row), edit_channel),
    "role": Form(Person, lambda _, row: Role[row.role.upper()], change_role),
    "failures": Form(AlertSetting, lambda bridge, _: listing.get_failing_after(bridge, LOCAL), set_failing_after),
}
ROW_IDS = {"folder": 2}


@pytest.fixture
def stored(bridge: Bridge, group_with_runs: object) -> Bridge:
    """A home with one row of each kind that a form changes."""
    now = bridge.clock.now()
    change_row(bridge, Connection, 1, secret=bridge.vault.encrypt("made up"))
    change_row(bridge, Sync, 1, kind=SyncKind.RECURRING, every_minutes=30)
    alert_states.set_failing_after(bridge.engine, 3)
    with write_session(bridge.engine) as session:
        session.add(Person(email="ann@example.com", role="admin", created_at=now))
        session.add(Person(email="bob@example.com", role="admin", created_at=now))
        session.add(AlertChannel(name="Ops", kind="webhook", address="sealed", shown="example.com", created_at=now))
    return bridge


def read(bridge: Bridge, name: str) -> dict[str, Any]:
    with read_session(bridge.engine) as session:
        return session.get_one(FORMS[name].table, ROW_IDS.get(name, 1)).model_dump()


def look(bridge: Bridge, name: str) -> Any:
    with read_session(bridge.engine) as session:
        row = session.get_one(FORMS[name].table, ROW_IDS.get(name, 1))
    return FORMS[name].see(bridge, row)


@pytest.mark.parametrize("name", FORMS)
def test_what_was_stored_since_it_was_seen_is_not_saved_over(stored: Bridge, name: str):
    save, seen = FORMS[name].save, look(stored, name)
    save(stored, "theirs", seen)
    before = read(stored, name)

    with pytest.raises(ChangedMeanwhile, match=r"^Somebody else has changed this \w+ meanwhile\. Nothing was saved\.$"):
        save(stored, "mine", seen)

    assert read(stored, name) == before
    save(stored, "mine", look(stored, name))
    assert read(stored, name) != before


@pytest.mark.parametrize("change", [{"removed": True}, {"project_id": 2}])
def test_nothing_is_started_with_a_connection_that_is_not_any_more_what_was_looked_up(
    stored: Bridge, change: dict[str, object]
):
    mixpanel, destination = (connections.get_connection(stored.engine, number) for number in (1, 2))
    assert mixpanel
    assert destination
    change_row(stored, Connection, 1, **change)

    with pytest.raises(NotConnected, match="The connection default was removed meanwhile"):
        one_time.queue_export(stored, SyncPlace(mixpanel, destination, 8), RunRequest("manual", "local"), known=None)

    with read_session(stored.engine) as session:
        assert session.exec(select(Group).where(Group.cohort_id == 8)).first() is None


def test_of_a_form_for_matching_all_is_stored_or_nothing(stored: Bridge):
    before = read(stored, "matching of a project")

    with pytest.raises(SettingsError, match="^Project token: "):
        mixpanel_connection.change_match_setting(
            stored, LOCAL, 1, match_property="crm", expects_prefix=False, project_token=SecretStr("no\u200btoken")
        )

    assert read(stored, "matching of a project") == before
    mixpanel_connection.change_match_setting(
        stored, LOCAL, 1, match_property="crm", expects_prefix=False, project_token=SecretStr("a-token-of-1234")
    )
    now = read(stored, "matching of a project")
    assert (now["match_property"], now["expects_prefix"], now["project_token_end"]) == ("crm", False, "1234")
