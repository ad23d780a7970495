"""Overview: is everything all right, and what next?"""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Engine, event
from streamlit.testing.v1.element_tree import Dataframe

from core.access.roles import LOCAL, Role
from core.alerts import listing as alert_listing
from core.bridge import Bridge, notice_restore
from core.connections import destinations
from core.syncs import cohorts, listing, one_time, recurring, runs
from core.worker import service
from data import alert_states, outbox, workers
from data.alert_states import Finding
from data.engine import write_session
from data.models import Group, RunStatus, Sync, SyncState
from data.outbox import Outcome
from data.outbox_models import Condition, MessageStatus
from pages.shell.menu import Section
from tests.pages.dashboard import (
    COHORTS,
    GROUPS,
    HISTORY,
    OVERVIEW,
    SYNCS,
    USERS,
    drawn,
    open_page,
    page_buttons,
    shown,
    sign_in_as,
)
from tests.stage.alerts import add_channel
from tests.stage.home import export, newest_run
from tests.stage.sandbox import NEWSLETTER, POWER, SPENDERS, TRIAL, Sandbox

# What the menu shows beside Overview.
COUNT = "resources_attention_shown"
# What a list shows at 800 pixels beside the menu and its own boxes to select rows.
SEEN_PX = 640
# The same in the window of a phone.
SEEN_ON_PHONE_PX = 325


def test_a_newcomer_is_led_to_the_cohorts(practising: Bridge):
    at = open_page(OVERVIEW)
    assert "Pick a cohort and export it" in shown(at)

    drawn(at.button(key="overview_pick").click().run())

    assert at.title[0].value == "Cohorts"


def test_with_nothing_connected_the_next_step_is_connections():
    at = open_page(OVERVIEW)

    drawn(at.button(key="overview_connect").click().run())

    assert at.title[0].value == "Connections"


def test_what_failed_stands_there_with_cause_and_button(practising: Bridge, sandbox: Sandbox):
    export(practising, NEWSLETTER)
    sandbox.fault("unauthorized", target="apptimize")
    failed = export(practising, POWER)
    sandbox.clear_faults()

    at = open_page(OVERVIEW)

    assert "Needs attention" in shown(at)
    assert "does not accept the token" in shown(at)
    drawn(at.button(key=f"overview_again_{failed.id}").click().run())
    assert "is queued" in shown(at)
    assert [run.cohort_id for run in runs.active_runs(practising, LOCAL)] == [POWER]
    assert "Nothing needs attention" in shown(drawn(at.run()))


def test_a_machine_whose_clock_is_off_is_told_of_with_what_helps(practising: Bridge):
    now = practising.clock.now()
    workers.sign_on(practising.engine, "far_a:1:ab", started_at=now, now=now, clock_ahead_s=-86_400)

    warnings = [warning.value for warning in open_page(OVERVIEW).warning]

    assert [text for text in warnings if "440 minutes behind" in text and "far\\_a" in text and "NTP" in text]


def test_workers_that_have_names_are_listed_by_them(practising: Bridge):
    service.Worker(practising, "left_hand").sign_on()
    service.Worker(practising, "right").sign_on()

    captions = [caption.value.replace("\\", "") for caption in open_page(OVERVIEW).caption]

    assert any("2 workers, heartbeat" in text for text in captions)
    # On a line of their own below the cards, whose height is one for all: there the last ones would be cut off.
    assert [text for text in captions if text.startswith("Workers: left_hand (") and ", right (" in text]


def test_a_storage_that_cannot_be_used_is_said_with_what_helps(practising: Bridge):
    folder = practising.settings.snapshots
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("no folder")

    errors = [error.value for error in open_page(OVERVIEW).error]

    assert [text for text in errors if "The storage folder" in text and "Make room there" in text], errors


def test_a_failure_that_was_recovered_since_needs_no_attention(practising: Bridge, sandbox: Sandbox):
    sandbox.fault("unauthorized", target="apptimize")
    export(practising, POWER)
    before = shown(open_page(OVERVIEW))
    sandbox.clear_faults()
    export(practising, POWER)

    text = shown(open_page(OVERVIEW))

    assert "1 group not recovered" in before
    assert "Nothing needs attention" in text
    assert "not recovered" not in text
    assert "None failing now" in text
    assert "1 run succeeded  \n1 failed" in text


def test_two_rows_that_look_alike_are_told_apart_by_state_destination_and_cause(practising: Bridge, sandbox: Sandbox):
    export(practising, POWER)
    sandbox.fault("unauthorized")
    export(practising, POWER)

    rows = open_page(OVERVIEW).dataframe[-1].value.to_dict("records")

    assert [list(row["State"]) for row in rows] == [["Failed"], ["Succeeded"]]
    assert [row["Cause"] for row in rows] == ["Mixpanel refused access", ""]
    assert {row["Destination"] for row in rows} == {"default"}


def test_the_first_that_need_attention_stand_there_and_the_others_behind_a_fold(practising: Bridge, sandbox: Sandbox):
    sandbox.fault("unauthorized")
    failed = [export(practising, cohort) for cohort in (POWER, NEWSLETTER, TRIAL, SPENDERS)]

    at = open_page(OVERVIEW)

    (fold,) = [each for each in at.expander if each.label == "1 more"]
    assert [button.key for button in fold.button] == [f"overview_again_{failed[0].id}"]
    again = [key for key in page_buttons(at) if key.startswith("overview_again_")]
    assert again == [f"overview_again_{run.id}" for run in reversed(failed)]


def test_what_tells_rows_apart_is_in_sight_in_a_window_of_middling_width(practising: Bridge, sandbox: Sandbox):
    sync = recurring.add_sync(practising, LOCAL, POWER, group="A group whose name is long enough to fill its column")
    sandbox.fault("unauthorized")
    service.once(practising)
    recurring.resume_sync(practising, LOCAL, sync.id or 0)

    lists = [each for page in (OVERVIEW, SYNCS, HISTORY) for each in open_page(page).dataframe]

    assert len(lists) == 4
    for each in lists:
        assert px_up_to("Cause", each) <= SEEN_PX
        assert px_up_to("Destination", each) <= SEEN_PX
        assert px_up_to("State", each) <= SEEN_ON_PHONE_PX


def test_groups_of_one_name_are_told_apart_in_every_window(exported: Bridge, tmp_path: Path):
    destinations.connect_csv(exported, LOCAL, folder=str(tmp_path), name="archive")
    export(exported, POWER, to="archive")
    members = open_page(GROUPS, group=1).dataframe[0]
    member = members.value["Apptimize id"].iloc[0]
    assert px_up_to("In the group since", members) <= SEEN_PX

    for each in (open_page(GROUPS).dataframe[0], open_page(USERS, id=member).dataframe[0]):
        assert [list(states) for states in each.value["State"]][0][0] in ("As delivered", "In the group")
        assert set(each.value["Destination"]) >= {"default", "archive"}
        assert px_up_to("State", each) <= SEEN_ON_PHONE_PX
        assert px_up_to("Destination", each) <= SEEN_PX
    assert px_up_to("Members", open_page(GROUPS).dataframe[0]) <= SEEN_ON_PHONE_PX
    assert px_up_to("Sync or note", open_page(COHORTS).dataframe[0]) <= SEEN_PX


def px_up_to(name: str, table: Dataframe) -> int:
    """Return where a column of a list ends, from where its first one begins."""
    widths, names = json.loads(table.proto.columns), list(table.proto.column_order)
    return sum(widths[each]["width"] for each in names[: names.index(name) + 1])


def test_the_workers_are_read_once_for_a_drawing(practising: Bridge):
    service.Worker(practising, "alone").sign_on()
    open_page(OVERVIEW)
    asked = list[str]()

    def note(*call: object) -> None:
        asked.append(str(call[2]))

    event.listen(Engine, "before_cursor_execute", note)
    open_page(OVERVIEW)
    event.remove(Engine, "before_cursor_execute", note)

    assert sum("worker_beat" in statement for statement in asked) == 1


def test_the_last_day_of_a_sync_is_a_line_and_words(practising: Bridge):
    sync = recurring.add_sync(practising, LOCAL, POWER)
    with write_session(practising.engine) as session:
        kept = session.get_one(Sync, sync.id)
        kept.created_at = practising.clock.now() - timedelta(hours=3)
        session.add(kept)

    (row,) = open_page(OVERVIEW).dataframe[0].value.to_dict("records")

    assert row["Last 24 hours"].startswith("data:image/svg+xml,")
    assert re.fullmatch(r"0 of 1[12] on time, 1[12] missed", row["Last 24 hours in words"])


def test_a_failed_dry_run_does_not_hide_or_raise_an_alarm(exported: Bridge, sandbox: Sandbox):
    sandbox.fault("unauthorized")
    export(exported, POWER, dry_run=True)

    assert "Nothing needs attention" in shown(open_page(OVERVIEW))


def test_the_budget_of_queries_is_shown_and_when_the_next_slot_opens(practising: Bridge, sandbox: Sandbox):
    sandbox.limit(hourly_limit=2)
    cohorts.list_cohorts(practising, LOCAL)
    assert "1 of 2 used" in shown(open_page(OVERVIEW))

    cohorts.list_cohorts(practising, LOCAL)

    assert "2 of 2 used. The next slot opens at" in shown(open_page(OVERVIEW))


def test_a_paused_sync_stands_there_with_its_cause_and_is_resumed(practising: Bridge, sandbox: Sandbox):
    sync = recurring.add_sync(practising, LOCAL, POWER)
    sandbox.fault("unauthorized", target="apptimize")
    service.once(practising)
    sandbox.clear_faults()

    at = open_page(OVERVIEW)
    assert "does not accept the token" in shown(at)
    assert not [button for button in at.button if (button.key or "").startswith("overview_again")]
    drawn(at.button(key=f"overview_resume_{sync.id}").click().run())

    assert listing.get_sync(practising, LOCAL, sync.id or 0).sync.state == SyncState.ACTIVE


def test_a_held_run_is_discarded_where_it_is_told(exported: Bridge, sandbox: Sandbox):
    sandbox.fault("total_wrong")
    held = export(exported, POWER)
    assert held.status == RunStatus.HELD

    at = open_page(OVERVIEW)
    viewers = open_page(OVERVIEW, user=sign_in_as(exported, Role.VIEWER))
    assert "An analyst can apply it once, or discard it." in shown(viewers)
    assert f"overview_{held.id}_discard" not in page_buttons(viewers)
    drawn(at.button(key=f"overview_{held.id}_discard").click().run())

    assert newest_run(exported).status == RunStatus.CANCELLED
    assert "Nothing needs attention" in shown(at)


def test_a_held_run_stays_to_be_decided_while_a_newer_one_is_queued(exported: Bridge, sandbox: Sandbox):
    sandbox.fault("total_wrong")
    held = export(exported, POWER)
    one_time.start_export(exported, LOCAL, POWER)

    at = open_page(OVERVIEW)

    drawn(at.button(key=f"overview_{held.id}_apply").click().run())
    assert f"in run {held.id}" in shown(at)


def test_freshness_says_what_is_late_and_the_last_day_what_failed(practising: Bridge, sandbox: Sandbox):
    recurring.add_sync(practising, LOCAL, POWER)
    service.once(practising)
    sandbox.fault("server_error", target="apptimize")
    export(practising, NEWSLETTER)
    with write_session(practising.engine) as session:
        group = session.get_one(Group, 1)
        group.verified_at = practising.clock.now() - timedelta(hours=3)
        session.add(group)

    at = open_page(OVERVIEW)

    assert "1 recurring sync, 1 late." in shown(at)
    assert [list(states) for states in at.dataframe[0].value["State"]] == [["Late"]]
    assert list(at.dataframe[0].value["Updated"]) == ["3 hours ago"]
    assert "1 group not recovered" in shown(at)
    assert "Failing" in shown(at)
    assert "Recurring syncs need 8 an hour." in shown(at)


def test_a_database_that_was_put_back_is_told_until_every_group_was_written_again(practising: Bridge, sandbox: Sandbox):
    export(practising, POWER)
    recurring.add_sync(practising, LOCAL, NEWSLETTER)
    service.once(practising)
    practising.settings.delivery_mark.write_text("7\n")  # as the file says after five more deliveries
    notice_restore(practising)

    at = open_page(OVERVIEW)

    assert "The database may be older than what was delivered" in shown(at)
    assert "in doubt for 2 groups" in shown(at)
    assert [key for key in page_buttons(at) if "doubtful" in (key or "")] == ["overview_doubtful_1"]
    drawn(at.button(key="overview_doubtful_1").click().run())
    service.once(practising)
    assert "in doubt for 1 group," in shown(open_page(OVERVIEW))
    export(practising, NEWSLETTER)
    assert "Nothing needs attention" in shown(open_page(OVERVIEW))


def test_a_viewer_is_told_the_same_and_shown_no_button_that_changes_anything(practising: Bridge, sandbox: Sandbox):
    sandbox.fault("unauthorized", target="apptimize")
    export(practising, POWER)
    recurring.pause_sync(practising, LOCAL, recurring.add_sync(practising, LOCAL, NEWSLETTER).id or 0)
    vera = sign_in_as(practising, Role.VIEWER)

    at = open_page(OVERVIEW, user=vera)

    assert "does not accept the token" in shown(at)
    assert not page_buttons(at)


def test_what_may_not_have_arrived_is_shown_until_somebody_has_seen_it(practising: Bridge, sandbox: Sandbox):
    export(practising, POWER)
    add_channel(practising, name="Ops *mail*")
    low = Finding(Condition.DISK, "critical", {"free_bytes": 2**30, "total_bytes": 2**36})
    alert_states.settle_found(practising.engine, {"disk": low}, now=practising.clock.now())
    (marked,) = outbox.mark_next(practising.engine, lease_owner="one", now=practising.clock.now())
    undecided = Outcome(MessageStatus.UNDECIDED, "Whether the message arrived is not known.")
    outbox.record(practising.engine, marked.message.id or 0, undecided, lease_owner="one", now=practising.clock.now())
    at = open_page(OVERVIEW)
    before = shown(at)

    drawn(at.button(key="overview_seen").click().run())

    assert "Needs attention" in before
    assert "1 alert may not have arrived" in before
    assert "Disk almost full: Cohort Bridge" in before
    assert "to Ops *mail*, just now: Whether the message arrived is not known" in before
    assert "1 alert marked as seen." in shown(at)
    assert "may not have arrived" not in shown(at)
    assert "Needs attention" in shown(at)  # the disk is as full as before
    assert alert_listing.list_told_messages(practising, LOCAL)[0].seen_by == "local"


def test_the_menu_shows_on_every_page_how_many_things_need_a_person(practising: Bridge, sandbox: Sandbox):
    assert open_page(HISTORY).session_state[COUNT] == 0
    sandbox.fault("unauthorized", target="apptimize")
    failed = export(practising, POWER)
    export(practising, NEWSLETTER)
    sandbox.clear_faults()

    at = open_page(OVERVIEW)
    assert at.session_state[COUNT] == 2, "Overview corrects what was counted a moment before"
    assert open_page(HISTORY).session_state[COUNT] == 2
    drawn(at.button(key=f"overview_again_{failed.id}").click().run())
    assert at.session_state[COUNT] == 1, "an action has it counted again"


def test_a_number_in_the_menu_is_a_badge_beside_the_title():
    assert Section("export/overview", "Overview", "home", count=1234).label == "Overview `1,234`"
    assert Section("export/overview", "Overview", "home").label == "Overview"
