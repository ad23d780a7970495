"""Below the form of a cohort: the preview, exporting what it showed, and each group by its destination."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlmodel import select

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.connections import removal
from core.connections.destinations import connect_csv
from core.connections.lookup import find_mixpanel
from core.connections.project import project_key
from core.errors import SettingsError
from core.syncs import listing, one_time, previews, recurring, runs
from core.worker import service
from data import cohort_list
from data.engine import read_session, write_session
from data.models import DESTINATION_SIDE, MIXPANEL_SIDE, Connection, Group, Run, RunStatus, Sync, SyncKind
from tests.pages.dashboard import COHORTS, GROUPS, HISTORY, SYNCS, drawn, flow_figures, open_page, page_buttons, shown
from tests.stage.home import export, newest_run
from tests.stage.sandbox import POWER, SPENDERS, TRIAL, Sandbox
from tests.stage.seeds import few

START, PREVIEW, THESE = (f"cohorts_{name}_{POWER}" for name in ("start", "preview", "export_these"))


@pytest.fixture
def previewed(practising: Bridge) -> Run:
    """A preview that somebody else asked for."""
    one_time.start_export(practising, LOCAL, POWER, dry_run=True)
    service.once(practising)
    return newest_run(practising)


def test_a_preview_of_a_recurring_sync_is_exported_with_the_settings_that_it_was_made_with(
    practising: Bridge, sandbox: Sandbox
):
    at = open_page(COHORTS, cohort=POWER)
    drawn(at.radio(key=f"cohorts_kind_{POWER}").set_value("Recurring (dynamic)").run())
    at.selectbox(key=f"cohorts_every_{POWER}").set_value(30)
    at.text_input(key=f"cohorts_group_{POWER}").set_value("Launch audience")
    drawn(at.button(key=PREVIEW).click().run())
    service.once(practising)
    drawn(at.run())

    drawn(at.button(key=THESE).click().run())

    view = next(view for view in listing.list_syncs(practising, LOCAL) if view.sync.kind == SyncKind.RECURRING)
    assert (view.sync.every_minutes, view.group.name) == (30, "Launch audience")
    assert "The sync is active: its first run is due now." in shown(at)
    service.once(practising)
    assert sandbox.group(POWER) == sandbox.answer(POWER).group
    assert sandbox.group_name(POWER) == "Launch audience"


def test_a_preview_by_somebody_else_is_exported_once_to_where_it_was_for(
    practising: Bridge, previewed: Run, sandbox: Sandbox
):
    at = open_page(COHORTS, cohort=POWER)

    drawn(at.button(key=THESE).click().run())
    assert at.button(key=THESE).disabled
    service.once(practising)

    assert not newest_run(practising).dry_run
    assert sandbox.group(POWER) == sandbox.answer(POWER).group


def test_what_was_previewed_is_not_exported_once_the_form_says_something_else(practising: Bridge, previewed: Run):
    at = open_page(COHORTS, cohort=POWER)
    # Typed and pressed at once: the button was drawn before the field changed.
    at.text_input(key=f"cohorts_group_{POWER}").set_value("Another")
    drawn(at.button(key=THESE).click().run())

    assert "The form has changed since the preview: Group name. Nothing was exported." in shown(at)
    assert newest_run(practising).id == previewed.id
    assert at.button(key=THESE).disabled

    drawn(at.text_input(key=f"cohorts_group_{POWER}").set_value("Power users").run())
    assert not at.button(key=THESE).disabled
    drawn(at.radio(key=f"cohorts_kind_{POWER}").set_value("Recurring (dynamic)").run())
    assert "changed since this preview: Kind of export, Interval" in shown(at)


def remove_destination(bridge: Bridge) -> None:
    with write_session(bridge.engine) as session:
        connection = session.exec(select(Connection).where(Connection.side == DESTINATION_SIDE)).one()
    removal.remove_connection(bridge, LOCAL, connection.id or 0)


def match_otherwise(bridge: Bridge) -> None:
    with write_session(bridge.engine) as session:
        session.exec(select(Connection).where(Connection.side == MIXPANEL_SIDE)).one().match_property = "player_id"


def enter_again(bridge: Bridge) -> None:
    with write_session(bridge.engine) as session:
        connection = session.exec(select(Connection).where(Connection.side == DESTINATION_SIDE)).one()
        connection.checked_at = bridge.clock.now() + timedelta(seconds=1)


def read_another_project(bridge: Bridge) -> None:
    with write_session(bridge.engine) as session:
        session.exec(select(Connection).where(Connection.side == MIXPANEL_SIDE)).one().project_id += 1


def rename_group(bridge: Bridge) -> None:
    with write_session(bridge.engine) as session:
        group = session.exec(select(Group)).one()
        group.own_name = group.name = "Another"
        group.in_doubt = True  # until something was delivered, or may have been, an export may give it any name


@few(3)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (remove_destination, "was removed or renamed since"),
        (match_otherwise, "matched in another way by now"),
        (enter_again, "the connection default was entered again since"),
        (read_another_project, "or from another project, by now"),
        (rename_group, "the group is called Another by now"),
        (lambda bridge: export(bridge, POWER), "run 2 has come after it"),
    ],
)
def test_a_preview_whose_surroundings_changed_is_not_current(
    practising: Bridge, previewed: Run, change: Callable[[Bridge], object], says: str
):
    assert previews.require_current(practising, LOCAL, previewed.id or 0).id == previewed.id

    change(practising)

    with pytest.raises(SettingsError, match=says):
        previews.require_current(practising, LOCAL, previewed.id or 0)


def placed_group(bridge: Bridge, cohort_id: int) -> Group:
    with read_session(bridge.engine) as session:
        return session.exec(select(Group).where(Group.cohort_id == cohort_id)).one()


def test_a_preview_gives_its_name_to_no_group(practising: Bridge):
    sync = recurring.add_sync(practising, LOCAL, POWER, group="Theirs")
    recurring.pause_sync(practising, LOCAL, sync.id or 0)
    for name in ("Mine", "Rather this"):
        one_time.start_export(practising, LOCAL, POWER, group=name, dry_run=True)

    service.once(practising)

    run, group = newest_run(practising), placed_group(practising, POWER)
    assert (run.status, run.cohort_name, run.group_name) == (RunStatus.SUCCEEDED, "Power users", "Rather this")
    assert (group.own_name, group.name) == ("Theirs", "Theirs")
    assert previews.require_current(practising, LOCAL, run.id or 0).id == run.id
    one_time.start_export(practising, LOCAL, SPENDERS, group="Mine", dry_run=True)
    assert one_time.start_export(practising, LOCAL, SPENDERS).group_name != "Mine"
    assert placed_group(practising, SPENDERS).own_name is None


def test_the_form_stays_and_waits_while_a_run_is_on_its_way(practising: Bridge):
    before = page_buttons(open_page(COHORTS, cohort=POWER))
    run = one_time.start_export(practising, LOCAL, POWER)

    at = open_page(COHORTS, cohort=POWER)

    assert at.button(key=START).disabled
    assert at.button(key=PREVIEW).disabled
    buttons = page_buttons(at)
    assert buttons[: len(before)] == before
    assert buttons.index(f"run_cancel_{run.id}") >= len(before)


def test_the_newest_run_may_have_ended_before_an_older_one(practising: Bridge):
    export(practising, POWER)
    one_time.start_export(practising, LOCAL, POWER)
    runs.cancel_run(practising, LOCAL, newest_run(practising).id or 0)
    with write_session(practising.engine) as session:
        older = session.get_one(Run, 1)
        older.finished_at = practising.clock.now() + timedelta(seconds=1)
        session.add(older)

    at = open_page(COHORTS, cohort=POWER)

    assert "Every user with a usable id is in the group" in shown(at)


def test_a_group_of_its_own_name_gives_it_to_no_other_destination(practising: Bridge):
    connect_csv(practising, LOCAL, folder=str(practising.settings.csv_folder))
    one_time.start_export(practising, LOCAL, POWER, to="default", group="Launch audience")
    service.once(practising)
    at = open_page(COHORTS, cohort=POWER)
    assert "**Launch audience**" in [text.value for text in at.markdown]

    drawn(at.selectbox(key=f"cohorts_to_{POWER}").set_value("csv").run())
    assert at.text_input(key=f"cohorts_group_{POWER}").value == "Power users"

    at.query_params["to"] = "default"
    drawn(at.run())
    at.query_params["to"] = "csv"
    drawn(at.run())
    assert at.text_input(key=f"cohorts_group_{POWER}").value == "Power users"

    at.text_input(key=f"cohorts_group_{POWER}").set_value("Mine")
    drawn(at.selectbox(key=f"cohorts_to_{POWER}").set_value("default").run())
    assert "**Launch audience**" in [text.value for text in at.markdown]


def test_a_group_that_was_never_delivered_is_shown_under_the_name_that_it_would_be_given(practising: Bridge):
    sync = recurring.add_sync(practising, LOCAL, POWER, group="Launch audience")
    recurring.remove_sync(practising, LOCAL, sync.id or 0)
    at = open_page(COHORTS, cohort=POWER)
    assert at.text_input(key=f"cohorts_group_{POWER}").value == "Launch audience"

    at.text_input(key=f"cohorts_group_{POWER}").set_value("Power users")
    drawn(at.button(key=START).click().run())

    assert newest_run(practising).group_name == "Power users"


def test_a_cohort_of_another_project_that_has_its_number_is_not_taken_for_it(practising: Bridge):
    recurring.add_sync(practising, LOCAL, POWER, group="Of the other project")
    service.once(practising)
    with write_session(practising.engine) as session:
        for row in (*session.exec(select(Group)).all(), *session.exec(select(Sync)).all()):
            row.project_id += 1

    at = open_page(COHORTS, cohort=POWER)

    assert at.text_input(key=f"cohorts_group_{POWER}").value == "Power users"
    assert ": Recurring" not in shown(at)
    assert "Of the other project" not in shown(at)
    drawn(at.radio(key=f"cohorts_kind_{POWER}").set_value("Recurring (dynamic)").run())
    assert not at.button(key=START).disabled


@pytest.mark.parametrize(
    ("fault", "target", "state"),
    [("server_error", "mixpanel", "As delivered"), ("total_wrong", "mixpanel", "As delivered"),
     ("unauthorized", "apptimize", "In doubt")],
)  # fmt: skip
def test_an_export_that_did_not_succeed_leaves_the_group_in_sight(
    exported: Bridge, sandbox: Sandbox, fault: str, target: str, state: str
):
    good = newest_run(exported)
    sandbox.fault(fault, target=target)
    export(exported, POWER, full=True)

    at = open_page(COHORTS, cohort=POWER)

    assert {"The run failed", "Held: nothing was written"} & {str(box.proto.title) for box in (*at.error, *at.warning)}
    assert f": {state}]" in shown(at)
    assert f"{good.members:,} members at default" in shown(at)
    assert "group=1" in [link.proto.query_string for link in at.get("page_link")]
    assert "The last export that succeeded" in shown(at)
    assert flow_figures(at)["Members"] == good.members


def test_a_cohort_of_another_project_is_opened_through_the_connection_to_that(exported: Bridge):
    with write_session(exported.engine) as session:
        used = session.exec(select(Connection).where(Connection.side == MIXPANEL_SIDE)).one()
        own = used.project_id
        session.add(Connection(**used.model_dump(exclude={"id", "name"}), name="second"))
        used.project_id = own + 1
    for path, row in ((HISTORY, "run"), (GROUPS, "group"), (SYNCS, "sync")):
        links = [link.proto.query_string for link in open_page(path, **{row: 1}).get("page_link")]
        assert f"cohort={POWER}&project={own}&to=default" in links

    at = open_page(COHORTS, cohort=POWER, project=own, to="default")

    assert f"Cohort {POWER} of Mixpanel project {own}." in shown(at)
    assert "Group at default" in [heading.value for heading in at.subheader]
    drawn(at.button(key="cohorts_back").click().run())
    assert "project" not in at.query_params

    at = open_page(COHORTS, cohort=POWER, project=own + 7)
    assert f"This cohort is of Mixpanel project {own + 7}, which is not connected." in shown(at)
    assert at.button(key="cohorts_back")
    assert not [button for button in page_buttons(at) if button.startswith("cohorts_start")]


def test_what_was_previewed_keeps_the_name_that_is_shown_though_its_cohort_was_renamed_since(practising: Bridge):
    at = open_page(COHORTS, cohort=POWER)
    drawn(at.button(key=PREVIEW).click().run())
    service.once(practising)
    key, now = project_key(find_mixpanel(practising)), practising.clock.now()
    listed = cohort_list.get(practising.engine, key)
    assert listed
    renamed = [each | ({"name": "Renamed"} if each["id"] == POWER else {}) for each in listed.cohorts]
    cohort_list.share(practising.engine, key, renamed, read_at=now)
    drawn(at.run())
    assert "as Power users" in shown(at)

    drawn(at.button(key=THESE).click().run())

    assert newest_run(practising).group_name == "Power users"


def test_fields_that_nobody_has_seen_start_nothing(practising: Bridge):
    at = open_page(COHORTS, cohort=POWER)
    at.radio(key=f"cohorts_kind_{POWER}").set_value("Recurring (dynamic)")

    drawn(at.button(key=START).click().run())

    assert "opened more fields after you pressed the button. Nothing was done." in shown(at)
    assert not listing.list_syncs(practising, LOCAL)
    drawn(at.button(key=START).click().run())
    [view] = listing.list_syncs(practising, LOCAL)
    assert (view.sync.every_minutes, view.sync.max_shrink) == (15, 10)


def test_the_heading_names_what_is_exported_to(practising: Bridge):
    connect_csv(practising, LOCAL, folder=str(practising.settings.csv_folder))
    at = open_page(COHORTS, cohort=POWER)
    assert at.subheader[0].value == "Export to Apptimize"

    drawn(at.selectbox(key=f"cohorts_to_{POWER}").set_value("csv").run())

    assert at.subheader[0].value == "Export to a CSV folder"
    assert "Nothing was exported to csv yet." in shown(at)


def test_groups_at_two_destinations_are_shown_each_by_its_own(practising: Bridge):
    connect_csv(practising, LOCAL, folder=str(practising.settings.csv_folder))
    export(practising, TRIAL, to="csv")
    export(practising, TRIAL, to="default")

    at = open_page(COHORTS, cohort=TRIAL)

    assert [heading.value for heading in at.subheader] == [
        "Export to Apptimize", "Group at default", "At other destinations",
    ]  # fmt: skip
    drawn(at.selectbox(key=f"cohorts_to_{TRIAL}").set_value("csv").run())
    assert [heading.value for heading in at.subheader][1] == "Group at csv"
    assert at.query_params["to"] == "csv"
    assert "Latest export" not in shown(at)


def test_the_address_names_the_destination_whose_group_is_shown(practising: Bridge):
    connect_csv(practising, LOCAL, folder=str(practising.settings.csv_folder))
    export(practising, TRIAL, to="csv")
    export(practising, TRIAL, to="default")

    at = open_page(COHORTS, cohort=TRIAL, to="csv")
    assert [heading.value for heading in at.subheader][1] == "Group at csv"
    drawn(at.button(key="cohorts_back").click().run())
    assert "to" not in at.query_params

    links = [link.proto.query_string for link in open_page(HISTORY, run=1).get("page_link")]
    assert f"cohort={TRIAL}&project={find_mixpanel(practising).project_id}&to=csv" in links
    at = open_page(COHORTS, cohort=TRIAL, to="gone")
    assert "There is no destination gone" in shown(at)
    assert [heading.value for heading in at.subheader][1] == "Group at default"


def test_what_start_sync_would_do_beside_a_recurring_sync_is_said(practising: Bridge):
    sync = recurring.add_sync(practising, LOCAL, POWER)
    service.once(practising)
    at = open_page(COHORTS, cohort=POWER)
    assert "Start sync exports once more, now, and changes nothing about that sync." in shown(at)
    assert not at.button(key=START).disabled

    drawn(at.radio(key=f"cohorts_kind_{POWER}").set_value("Recurring (dynamic)").run())
    assert "A recurring sync keeps this group already, every 15 minutes: a group has one." in shown(at)
    assert at.button(key=START).disabled

    recurring.pause_sync(practising, LOCAL, sync.id or 0)
    text = shown(open_page(COHORTS, cohort=POWER))
    assert "is paused. Start sync exports once, and leaves it paused." in text
    assert len(runs.list_runs(practising, LOCAL)) == 1
