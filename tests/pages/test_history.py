"""History: every run, and what each of them did."""

from __future__ import annotations

import csv
import json
from datetime import timedelta

import pytest
from sqlmodel import update

from core.access import people
from core.access.roles import LOCAL, Role
from core.bridge import Bridge
from core.reports import overview
from core.syncs import held_runs, one_time, recurring, runs
from data.engine import write_session
from data.models import Run, RunFilter, SyncKind
from tests.pages.dashboard import (
    HISTORY,
    drawn,
    first_drawn,
    flow_figures,
    open_folded,
    open_page,
    page_buttons,
    shown,
    sign_in_as,
)
from tests.stage.home import export
from tests.stage.sandbox import NEWSLETTER, POWER, SPENDERS, Sandbox


def ids(at) -> list[str]:  # noqa: ANN001
    return list(at.dataframe[0].value["Run"]) if at.dataframe else []


def days_in_words(at) -> str:  # noqa: ANN001
    """Return what the chart of runs per day tells those who do not see it."""
    return at.get("vega_lite_chart")[0].proto.alt


def test_runs_are_listed_newest_first_and_filtered(exported: Bridge, sandbox: Sandbox):
    export(exported, NEWSLETTER, dry_run=True)
    sandbox.fault("unauthorized", target="apptimize")
    export(exported, SPENDERS)
    one_time.start_export(exported, LOCAL, POWER)

    at = open_page(HISTORY)
    assert ids(at) == ["4", "3", "2", "1"]

    drawn(at.multiselect(key="history_status").set_value(["preview"]).run())
    assert ids(at) == ["2"]
    assert [list(states) for states in at.dataframe[0].value["State"]] == [["Preview"]]
    assert days_in_words(at).endswith(", 1 preview.")
    drawn(at.multiselect(key="history_status").set_value(["failed", "succeeded"]).run())
    assert ids(at) == ["3", "1"]
    drawn(at.multiselect(key="history_status").set_value([]).run())
    assert days_in_words(at).endswith(", 1 succeeded, 1 failed, 1 queued, 1 preview.")
    (bars,) = json.loads(at.get("vega_lite_chart")[0].proto.spec)["layer"]
    assert {bar["states"]: bar["runs"] for bar in bars["data"]["values"]} == {
        "1 succeeded": 1,
        "1 failed": 1,
        "1 queued, 1 preview": 2,
    }
    drawn(at.multiselect(key="history_status").set_value(["failed", "succeeded", "preview"]).run())
    assert ids(at) == ["3", "2", "1"]
    drawn(at.toggle(key="history_dry").set_value(False).run())
    assert ids(at) == ["3", "1"]
    drawn(at.text_input(key="history_text").set_value("<B>spend").run())
    assert ids(at) == ["3"]
    drawn(at.multiselect(key="history_trigger").set_value(["schedule"]).run())
    assert "No run matches the filters." in shown(at)


def test_a_run_that_was_held_for_its_total_has_counts_that_add_up_and_tells_of_no_change(
    exported: Bridge, sandbox: Sandbox
):
    sandbox.fault("total_wrong", by=3)
    held = export(exported, POWER)

    at = open_page(HISTORY, run=held.id)

    figures = flow_figures(at)
    assert figures["Profiles"] > 0
    assert figures["Profiles"] == sum(figures[part] for part in ("Members", "Duplicates", "Unmatched", "Invalid"))
    assert "To add" not in [tile.label for tile in at.metric]
    drawn(at.button(key="history_apply").click().run())
    assert "would be removed" not in shown(at)


def test_a_period_is_asked_for_in_the_readers_days(exported: Bridge):
    at = open_page(HISTORY)

    for period in ("Last hour", "Last 24 hours", "Last 7 days", "Last 30 days"):
        drawn(at.selectbox(key="history_period").set_value(period).run())
        assert ids(at) == ["1"]
    drawn(at.selectbox(key="history_period").set_value("Chosen days").run())
    assert ids(at) == ["1"]


def test_many_runs_are_paged_and_a_filter_begins_at_the_first_page(exported: Bridge):
    with write_session(exported.engine) as session:
        run = session.get_one(Run, 1)
        names = ("sync_id", "group_id", "cohort_id", "cohort_name", "group_name", "destination", "trigger", "actor")
        same = {name: getattr(run, name) for name in (*names, "queued_at")}
        session.add_all(Run(**same, status="cancelled") for _ in range(60))
    at = open_page(HISTORY)
    assert ids(at)[0] == "61"

    drawn(at.pagination(key="history_page").set_value(3).run())
    assert ids(at)[-1] == "1"

    drawn(at.multiselect(key="history_status").set_value(["succeeded"]).run())
    assert ids(at) == ["1"]
    drawn(at.multiselect(key="history_status").set_value([]).run())
    assert ids(at)[0] == "61"


def test_a_run_shows_counts_that_add_up_its_steps_and_what_it_cost(practising: Bridge):
    run = export(practising, POWER)

    at, calls = open_page(HISTORY, run=run.id), open_page(HISTORY, run=run.id, show="calls")

    metrics = [*at.metric, *calls.metric]
    figures = {metric.label: int(metric.value.replace(",", "")) for metric in metrics} | flow_figures(at)
    parts = ("Members", "Duplicates", "Unmatched", "Invalid")
    assert figures["Profiles"] == run.profiles == sum(figures[part] for part in parts)
    assert (figures["Added"], figures["Queries"], figures["Messages"]) == (run.added, run.queries, run.messages)
    steps = list(open_page(HISTORY, run=run.id, show="steps").table[-1].value["Step"])
    assert steps == [
        "Queued",
        "Started",
        "Looked up the cohort",
        "Read",
        "Checked that every profile arrived",
        "Compared",
        "Wrote",
        "Succeeded",
    ]


def test_a_failed_run_has_its_cause_and_the_button_that_fixes_it(practising: Bridge, sandbox: Sandbox):
    sandbox.fault("page_rows_missing")
    run = export(practising, POWER)
    assert run.status == "failed"
    sandbox.clear_faults()

    at = open_page(HISTORY, run=run.id)
    assert "Nothing was written and the group is as it was." in shown(at)

    drawn(at.button(key="history_again").click().run())
    assert [active.cohort_id for active in runs.active_runs(practising, LOCAL)] == [POWER]


def test_a_failed_run_speaks_to_who_looks_at_it(practising: Bridge, sandbox: Sandbox):
    sandbox.fault("unauthorized", target="mixpanel")
    run = export(practising, POWER)
    assert run.error_code == "mixpanel_unauthorized"
    vera = sign_in_as(practising, Role.VIEWER)
    people.add_person(practising, LOCAL, "boss@example.com", Role.ADMIN.label)

    admins = open_page(HISTORY, run=run.id)
    viewers = open_page(HISTORY, user=vera, run=run.id)

    assert "Check the Mixpanel connection on the Connections page." in shown(admins)
    assert "Ask an admin" not in shown(admins)
    assert "Go to Connections" in shown(admins)
    assert "history_again" in page_buttons(admins)
    assert "Ask an admin to check the Mixpanel connection" in shown(viewers)
    assert "An admin does that, on Connections. Ask boss@example.com." in shown(viewers)
    assert "Go to Connections" not in shown(viewers)
    assert "history_again" not in page_buttons(viewers)


def test_an_error_of_the_destination_itself_sends_nobody_to_connections(practising: Bridge, sandbox: Sandbox):
    sandbox.fault("server_error", target="apptimize")
    run = export(practising, POWER)
    assert run.error_code == "apptimize_unavailable"

    assert "Go to Connections" not in shown(open_page(HISTORY, run=run.id))
    viewers = shown(open_page(HISTORY, user=sign_in_as(practising, Role.VIEWER), run=run.id))
    assert "An analyst can run it again." in viewers
    assert "An admin does that" not in viewers


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "The run was cancelled. Nothing was written: the group is as it was."),
        (
            {"began_writing": True, "step": "queued", "messages_expected": 12, "messages": 3},
            "The run was cancelled. It had begun to write: 3 of 12 messages were sent. What the group held then is in "
            "doubt: the run after it writes all again.",
        ),
        (
            {"began_writing": True, "messages_expected": None, "messages": 0},
            "It had begun to write. What the group held then is in doubt",
        ),
        # A version before this one noted the step alone.
        ({"began_writing": None, "step": "delivering", "messages_expected": 2, "messages": 0}, "0 of 2 messages"),
        ({"began_writing": True, "dry_run": True}, "The run was cancelled."),
    ],
)
def test_a_cancelled_run_says_whether_anything_was_written(exported: Bridge, values: dict[str, object], said: str):
    usual = {"status": "cancelled", "step": "reading", "began_writing": False, "messages": 0}
    with write_session(exported.engine) as session:
        session.exec(update(Run).values(**usual | values))

    text = shown(open_page(HISTORY, run=1))

    assert said in text
    assert ("Nothing was written" in text) == (not values)


def test_reasons_of_invalid_ids_are_folded_behind_how_many_there_are(practising: Bridge):
    run = export(practising, POWER)
    assert run.invalid > 1

    (box,) = [each for each in open_page(HISTORY, run=run.id).expander if "invalid" in each.label]

    assert box.label == f"Why {run.invalid} ids are invalid"
    assert not box.proto.expanded
    assert sum(int(count) for count in box.table[0].value["Profiles"]) == run.invalid


def test_which_list_of_a_run_is_shown_stands_in_the_address(practising: Bridge):
    run = export(practising, POWER)
    at = open_page(HISTORY, run=run.id)
    assert "Unchanged" in [tile.label for tile in at.metric]
    assert "history_difference_added_search" not in {field.key for field in at.text_input}

    drawn(at.segmented_control(key="history_run_show").set_value("steps").run())

    assert at.query_params["show"] == "steps"
    assert "Checked that every profile arrived" in shown(at)
    drawn(at.button(key="history_back").click().run())
    assert "show" not in at.query_params


def test_a_held_and_an_interrupted_run_say_what_they_are(exported: Bridge):
    for status, words in (("held", "Held: nothing was written"), ("interrupted", "Interrupted")):
        with write_session(exported.engine) as session:
            cause = {"error_message": "Because **of this**.", "error_advice": "Do that."}
            session.exec(update(Run).values(status=status, **cause))

        text = shown(open_page(HISTORY, run=1))

        assert words in text
        assert "Because **of this**. Do that." in text


def test_a_run_that_was_decided_on_is_named_by_the_decision(exported: Bridge, sandbox: Sandbox):
    sandbox.fault("total_wrong", by=3)
    held = export(exported, POWER)
    held_runs.discard_held(exported, LOCAL, held.id or 0)

    assert ids(open_page(HISTORY))
    text = shown(open_page(HISTORY, run=held.id))

    assert "Discarded" in text
    assert "Cancelled" not in text


def test_a_run_after_a_damaged_file_says_that_its_numbers_are_not_what_changed(exported: Bridge):
    for file in exported.snapshots.folder.glob("run-*.parquet"):
        file.write_bytes(b"")
    run = export(exported, POWER)

    text = shown(open_page(HISTORY, run=run.id))

    assert "The whole group is written, not only what changed." in text
    assert "all of its members count as added" in text


def test_a_run_that_is_tried_again_after_its_process_died_says_when(exported: Bridge):
    at = exported.clock.now() + timedelta(minutes=4)
    with write_session(exported.engine) as session:
        session.exec(update(Run).values(status="queued", step="queued", waiting_until=at, finished_at=None))

    drawn_page = open_page(HISTORY, run=1)

    told = "Its process ended before it was done: it is tried again at"
    assert any(told in bar.proto.text for bar in drawn_page.main.get("progress"))


@pytest.mark.usefixtures("first_day")
def test_an_address_of_no_run_says_so():
    assert "There is no run 99." in shown(open_page(HISTORY, run=99))


@pytest.mark.usefixtures("first_day")
@pytest.mark.parametrize("text", ["x' or 1=1", "abc", "-1", "\u0661", "9" * 30])
def test_an_address_that_is_no_number_says_so_and_leads_to_the_list(text: str):
    at = open_page(HISTORY, run=text)
    assert f"There is no run {text}." in shown(at)

    drawn(at.button(key="history_back").click().run())
    assert "No runs yet" in shown(at)


def test_runs_are_filtered_by_sync_and_by_person(exported: Bridge):
    export(exported, SPENDERS)
    with write_session(exported.engine) as session:
        session.exec(update(Run).where(Run.id == 2).values(actor="ann@example.com"))

    at = open_page(HISTORY)
    drawn(at.selectbox(key="history_actor").set_value("ann@example.com").run())
    assert ids(at) == ["2"]

    at = open_page(HISTORY)
    drawn(at.selectbox(key="history_sync").set_value(1).run())
    assert ids(at) == ["1"]
    assert at.query_params["sync"] == "1"


def test_runs_are_filtered_by_destination_and_say_why_they_failed(exported: Bridge, sandbox: Sandbox):
    sandbox.fault("unauthorized", target="apptimize")
    export(exported, SPENDERS)
    with write_session(exported.engine) as session:
        session.exec(update(Run).where(Run.id == 1).values(destination="removed", group_name="[EU]"))

    at = open_page(HISTORY)
    # As it is, brackets would make a list of buttons of a name: an invisible character before them keeps it one.
    assert list(at.dataframe[0].value["Group"])[1] == "\u2060[EU]"
    assert list(at.dataframe[0].value["Cause"]) == ["Destination refused access", ""]
    assert [list(states) for states in at.dataframe[0].value["State"]] == [["Failed"], ["Succeeded"]]
    drawn(at.selectbox(key="history_destination").set_value("default").run())

    assert ids(at) == ["2"]
    assert at.query_params["destination"] == "default"


def test_filters_behind_the_button_are_counted_on_it_and_hold_before_it_was_opened(exported: Bridge):
    export(exported, SPENDERS)
    with write_session(exported.engine) as session:
        session.exec(update(Run).where(Run.id == 1).values(destination="removed"))

    at = first_drawn(open_folded(HISTORY, destination="default", period="days", **{"from": "2026-01-01"}))

    assert ids(at) == ["2"]
    assert [box.proto.popover.label for box in at.get("popover")] == ["More filters (2)", "Saved filters"]
    assert {field.key for field in (*at.text_input, *at.multiselect, *at.selectbox)} == {
        "history_text",
        "history_status",
    }


def test_filters_are_kept_under_a_name_for_whoever_kept_them(exported: Bridge):
    vera = sign_in_as(exported, Role.VIEWER)
    at = open_page(HISTORY, user=vera, status="failed", text="a&b")
    drawn(at.button(key="history_save").click().run())
    assert "Name: this is needed." in shown(at)
    at.text_input(key="history_saved_name").set_value("*Failed*")
    drawn(at.button(key="history_save").click().run())

    kept = next(link.proto for link in at.get("page_link") if "Failed" in link.proto.label)

    assert "The filter *Failed* is saved." in shown(at)
    assert kept.label == r"\*Failed\*"
    assert kept.query_string == "text=a%26b&status=failed"
    assert "*Failed*" not in shown(open_page(HISTORY))  # another person's page
    drawn(at.button(key="history_saved_remove_1").click().run())
    assert not [link for link in at.get("page_link") if "Failed" in link.proto.label]


def test_filters_whose_address_is_too_long_are_refused_with_what_to_do(exported: Bridge):
    at = open_page(HISTORY, text="長" * 200, actor="local", period="week", status=["failed"] * 200)

    at.text_input(key="history_saved_name").set_value("Long")
    drawn(at.button(key="history_save").click().run())

    assert "at most 2,000 characters of an address are kept" in shown(at)
    assert "Shorten the text" in shown(at)


def test_an_address_leads_to_the_runs_of_a_sync(exported: Bridge):
    export(exported, SPENDERS)

    assert ids(open_page(HISTORY, sync=2)) == ["2"]
    assert ids(open_page(HISTORY, sync="x")) == ["2", "1"]


def test_requests_and_messages_are_shown_with_status_and_time(practising: Bridge, sandbox: Sandbox):
    sandbox.fault("server_error", target="apptimize", times=1)
    run = export(practising, POWER)
    assert run.status == "succeeded"

    at = open_page(HISTORY, run=run.id, show="calls")
    drawn(at.toggle(key="run_log_each").set_value(True).run())

    tables = [table.value for table in at.dataframe]
    totals = next(table for table in tables if "Count" in table)
    each = next(table for table in tables if "Sent" in table)
    assert totals["Count"].sum() == run.requests + run.messages
    assert ("Message: all members", "500 Server error") in set(zip(totals["Call"], totals["Answer"], strict=True))
    assert len(each) == totals["Count"].sum()


def test_who_joined_and_left_is_shown_and_searched(practising: Bridge, sandbox: Sandbox):
    run = export(practising, POWER)
    member = sandbox.answer(POWER).ids[-1]

    at = open_page(HISTORY, run=run.id, show="members")
    drawn(at.text_input(key="history_difference_added_search").set_value(member).run())

    assert list(at.dataframe[0].value["Apptimize id"]) == [member]


def test_the_spreadsheet_holds_what_the_filters_ask_for_and_no_formula(exported: Bridge):
    export(exported, SPENDERS)
    with write_session(exported.engine) as session:
        session.exec(update(Run).where(Run.id == 2).values(group_name="=cmd|' /C calc'!A0"))

    text = "".join(overview.runs_csv(exported, LOCAL, RunFilter(text="cmd")))

    header, row = csv.reader(text.removeprefix("\ufeff").splitlines())
    values = dict(zip(header, row, strict=True))
    assert values["group_name"] == "'=cmd|' /C calc'!A0"
    assert int(values["profiles"]) == sum(
        int(values[column]) for column in ("members", "duplicates", "unmatched", "invalid")
    )


def test_a_viewer_sees_a_failed_run_and_its_cause_and_no_button_that_changes_anything(
    practising: Bridge, sandbox: Sandbox
):
    sandbox.fault("unauthorized", target="apptimize")
    run = export(practising, POWER)
    vera = sign_in_as(practising, Role.VIEWER)

    at = open_page(HISTORY, user=vera, run=run.id)

    assert "does not accept the token" in shown(at)
    assert page_buttons(at) == ["history_back"]


def test_removed_syncs_can_still_be_asked_for(exported: Bridge):
    sync = recurring.add_sync(exported, LOCAL, POWER)
    recurring.remove_sync(exported, LOCAL, sync.id or 0)

    assert sync.id in overview.sync_names(exported, LOCAL)
    assert sync.kind == SyncKind.RECURRING


@pytest.mark.parametrize("text", ["a" * 60_000, "spend\x00ers", "\x00"])
def test_a_search_that_nobody_can_type_ends_in_no_error(exported: Bridge, text: str):
    at = open_page(HISTORY, text=text)

    assert not at.error
    assert len(at.text_input(key="history_text").value) <= 200


def test_a_name_with_joiners_and_wide_blanks_is_searched_as_it_is(exported: Bridge):
    text = "👨\u200d👩\u200d👧\u3000x"

    assert open_page(HISTORY, text=text).text_input(key="history_text").value == text
